"""`manage.py import_requirements`: a file's pins become rows, or nothing does."""

from io import StringIO
from pathlib import Path

import pytest
from django.core.management import CommandError, call_command

from deploy_manager.models import Environment
from tests.inventory import Inventory

PINS = "django==5.2.8\nasgiref==3.8.1\n    # via django\nsqlparse==0.5.3\n    # via django\n"


def import_them(file: Path, text: str, *options: str) -> str:
    file.write_text(text)
    out = StringIO()
    call_command("import_requirements", "production", str(file), *options, stdout=out)
    return out.getvalue()


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return tmp_path / "pins.txt"


def test_pins_become_rows(inventory: Inventory, file: Path) -> None:
    printed = import_them(file, PINS)
    rows = inventory.environment.requirements.values_list("name", "version", "direct")
    assert list(rows) == [
        ("asgiref", "3.8.1", False),
        ("django", "5.2.8", True),
        ("sqlparse", "0.5.3", False),
    ]
    assert "3 pins, 3 changed." in printed
    assert "unless you say --use" in printed


def test_what_changes_is_shown(inventory: Inventory, file: Path) -> None:
    import_them(file, PINS)
    printed = import_them(file, PINS.replace("5.2.8", "5.2.9"), "--dry-run")
    assert "5.2.8" in printed
    assert "5.2.9" in printed
    assert "Nothing was written." in printed
    assert inventory.environment.requirements.get(name="django").version == "5.2.8"


def test_a_bad_line_is_named_and_nothing_is_lost(inventory: Inventory, file: Path) -> None:
    import_them(file, PINS)
    with pytest.raises(CommandError, match=r"pins\.txt is not a full set.* line 1: django>=5"):
        import_them(file, "django>=5\n")
    assert inventory.environment.requirements.count() == 3


def test_a_file_that_is_not_there_is_told(inventory: Inventory, tmp_path: Path) -> None:
    with pytest.raises(CommandError, match="can't be read"):
        call_command("import_requirements", "production", str(tmp_path / "none.txt"))


def test_uv_completes_what_is_not_pinned(inventory: Inventory, file: Path) -> None:
    import_them(file, "django>=5.2,<5.3\n", "--lock")
    rows = inventory.environment.requirements
    assert {"django", "asgiref", "sqlparse"} <= set(rows.values_list("name", flat=True))
    assert rows.get(name="django").direct
    assert not rows.get(name="asgiref").direct
    assert all(row.hashes for row in rows.all())


def test_the_environment_can_be_told_to_use_them(inventory: Inventory, file: Path) -> None:
    assert "installs these" in import_them(file, PINS, "--use")
    inventory.environment.refresh_from_db()
    assert inventory.environment.pins_from == Environment.PinsFrom.ROWS
