"""The page on credentials can be followed."""

import pytest

from deploy_manager.conf import Settings
from deploy_manager.models import Credential
from tests.parts.new_project import TOP, NewProject

PAGE = TOP / "docs/credentials.md"


@pytest.mark.long
def test_the_page_can_be_followed(new_project: NewProject) -> None:
    made, checked, _check, added, rotated, over = new_project.follow(PAGE)
    assert f'"SECRETS_KEY_FILE": "{new_project.folder}/secrets.key"' in made
    assert "0 secrets, current" in checked
    assert "Then seal all secrets with it" in added
    assert "0 secrets sealed anew" in rotated
    assert "not needed: its line can be removed" in over


def test_the_page_speaks_of_what_there_is() -> None:
    text = " ".join(PAGE.read_text().split())
    for setting in ("SECRET_COMMANDS", "INSECURE_REPOSITORIES", "SECRETS_PUBLIC_KEY"):
        assert setting in text
        assert setting in Settings.__dataclass_fields__
    shown = {str(label).partition(":")[0] for label in Credential.Kind.labels}
    shown |= {str(label) for label in Credential.Source.labels}
    for label in ("SSH login to servers", "git over HTTPS", "a file of the worker"):
        assert label in shown
        assert f"*{label}*" in text
