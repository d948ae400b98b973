"""A row that no form would have let through ends no command with a traceback."""

from contextlib import suppress

import pytest
from django.core.management import CommandError

from deploy_manager.models import Deployment, Environment, Upgrade
from tests.commands import call
from tests.parts.hostile import FEW_HOSTILE, Hostile, make_rows

pytestmark = pytest.mark.django_db


@pytest.fixture
def environment(db: None) -> Environment:
    return make_rows()


def commands(site: str) -> list[list[str]]:
    """Return the commands that list something or say what they would do."""
    deployment, upgrade = Deployment.objects.get(), Upgrade.objects.get()
    listing = [["policies"], ["audit"], ["inventory"], ["processes"]]
    listing += [[name, site] for name in ("releases", "overrides", "audit", "inventory")]
    planning = [[name, site] for name in ("deploy", "rollback", "converge", "upgrade")]
    planning += [["recipe", site, "ping"], ["retry", str(deployment.pk)]]
    return [
        *([*words, *more] for words in listing for more in ([], ["--json"])),
        *([*words, "--dry-run"] for words in planning),
        ["upgrade_patch", str(upgrade.pk)],
        ["export_requirements", site],
    ]


@pytest.mark.parametrize("hostile", FEW_HOSTILE)
def test_no_command_fails_by_what_stands_in_a_row(
    environment: Environment, hostile: Hostile
) -> None:
    name, project = environment.name, environment.project.name
    hostile.spoil()
    # By these the commands find it.
    Environment.objects.filter(pk=environment.pk).update(name=name)
    type(environment.project).objects.update(name=project)
    failed = []
    for words in commands(f"{project}/{name}"):
        try:
            with suppress(CommandError, SystemExit):
                call(*words)
        except Exception as error:
            failed.append(f"{words}: {error!r}")
    assert not failed
