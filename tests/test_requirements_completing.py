"""From names to a full set of pins: by the real uv."""

from pathlib import Path

import pytest

from deploy_manager.exceptions import PinError
from deploy_manager.requirements.completing import complete_pins


def test_names_become_a_full_set_of_hashed_pins() -> None:
    pins = complete_pins("django>=5.2,<5.3\n")
    direct = {pin.name: pin.direct for pin in pins}
    assert direct.items() >= {("django", True), ("asgiref", False), ("sqlparse", False)}
    assert all(pin.hashes for pin in pins)


def test_the_resolver_says_why_there_is_no_answer() -> None:
    with pytest.raises(PinError, match=r"requirements\.in can't be completed:\n.*No solution"):
        complete_pins("django>=99\n", "requirements.in")


@pytest.mark.parametrize(
    ("line", "problem"),
    [
        ("-r /etc/passwd", "it is outside of the folder"),
        ("-e .", "neither a project in the folder nor a repository"),
        ("evil @ file:///srv/evil", "a path or a URL"),
        ("--index-url https://me:s3cret@example.org/", "options in the file are not used"),
        ("django; nonsense", "is not a valid requirement"),
    ],
)
def test_what_leads_elsewhere_never_reaches_the_resolver(line: str, problem: str) -> None:
    with pytest.raises(PinError, match=f"can't be completed: line 2: .*{problem}") as error:
        complete_pins(f"django\n{line}\n")
    assert "s3cret" not in str(error.value)


def test_without_uv_the_way_to_get_it_is_reported(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("sys.executable", str(tmp_path / "python"))
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(PinError, match="uv is not installed here: pip install"):
        complete_pins("django\n")
