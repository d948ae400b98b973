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
    assert "Add --use to deploy them" in printed


def test_what_changes_is_shown(inventory: Inventory, file: Path) -> None:
    import_them(file, PINS)
    printed = import_them(file, PINS.replace("5.2.8", "5.2.9"), "--dry-run")
    assert "5.2.8" in printed
    assert "5.2.9" in printed
    assert "Nothing was written." in printed
    assert inventory.environment.requirements.get(name="django").version == "5.2.8"


def test_a_change_of_hashes_alone_is_reported(inventory: Inventory, file: Path) -> None:
    import_them(file, "a==1 --hash=sha256:" + "a" * 64)
    printed = import_them(file, "a==1 --hash=sha256:" + "b" * 64)
    assert "The versions stay; hashes, extras or markers change." in printed
    assert "1 pins, 0 changed." in printed


def test_a_bad_line_is_named_and_nothing_is_lost(inventory: Inventory, file: Path) -> None:
    import_them(file, PINS)
    with pytest.raises(CommandError, match=r"(?s)pins\.txt.*line 1: django>=5.*--lock.*--skip-bad"):
        import_them(file, "django>=5\n")
    assert inventory.environment.requirements.count() == 3


def test_bad_lines_are_all_told_and_the_rest_is_imported_only_if_told(
    inventory: Inventory, file: Path
) -> None:
    (file.parent / "base.txt").write_text("django==5.2.8\n./local\n")
    (file.parent.parent / "above.txt").write_text("secret==1\n")
    text = "-r base.txt\n-r ../above.txt\nasgiref==3.8.1\na @ https://me:s3cret@host.test/a.zip\n"
    with pytest.raises(CommandError) as refusal:
        import_them(file, text)
    told = [line.strip() for line in str(refusal.value).splitlines()]
    assert told[1].startswith("pins.txt, line 2: ../above.txt is not read")
    assert told[2].startswith("pins.txt, line 4: a @ https://[masked]@host.test/a.zip: its file")
    assert told[3].startswith("base.txt, line 2: ./local is not a valid requirement")
    assert not inventory.environment.requirements.exists()
    printed = import_them(file, text, "--skip-bad")
    assert "Left out: base.txt, line 2: " in printed
    rows = inventory.environment.requirements.values_list("name", flat=True)
    assert list(rows) == ["asgiref", "django"]


def test_uv_stays_within_the_constraints(inventory: Inventory, file: Path) -> None:
    (file.parent / "bounds.txt").write_text("django<5.2.8\n")
    import_them(file, "-c bounds.txt\ndjango>=5.2.7\n", "--lock")
    assert inventory.environment.requirements.get(name="django").version == "5.2.7"


def test_a_link_leads_nowhere_outside_of_the_folder(inventory: Inventory, file: Path) -> None:
    (file.parent / "hosts.txt").symlink_to("/etc/hosts")
    with pytest.raises(CommandError, match=r"hosts\.txt is not read"):
        import_them(file, "-r hosts.txt\n")


def test_a_file_that_is_not_there_is_reported(inventory: Inventory, tmp_path: Path) -> None:
    with pytest.raises(CommandError, match="can't be read"):
        call_command("import_requirements", "production", str(tmp_path / "none.txt"))


def test_uv_completes_what_is_not_pinned(inventory: Inventory, file: Path) -> None:
    import_them(file, "django>=5.2,<5.3\n", "--lock")
    rows = inventory.environment.requirements
    assert {"django", "asgiref", "sqlparse"} <= set(rows.values_list("name", flat=True))
    assert rows.get(name="django").direct
    assert not rows.get(name="asgiref").direct
    assert all(row.hashes for row in rows.all())


def test_the_oldest_python_of_the_servers_can_be_named(inventory: Inventory, file: Path) -> None:
    import_them(file, "django\n", "--lock", "--python", "3.11")
    found = inventory.environment.requirements.filter(name="django", version__startswith="5.2.")
    assert [row.marker for row in found] == ['python_full_version < "3.12"']
    with pytest.raises(CommandError, match="newest is not a version of Python"):
        import_them(file, "django\n", "--lock", "--python", "newest")


def test_the_environment_s_own_index_is_asked(inventory: Inventory, file: Path) -> None:
    Environment.objects.update(index_url="file:///nowhere/simple")
    with pytest.raises(CommandError, match="can't be completed"):
        import_them(file, "django\n", "--lock")


def test_a_dry_run_changes_nothing(inventory: Inventory, file: Path) -> None:
    assert "Nothing was written." in import_them(file, PINS, "--dry-run", "--use")
    inventory.environment.refresh_from_db()
    assert inventory.environment.pins_from == Environment.PinsFrom.COMMIT
    assert not inventory.environment.requirements.exists()


def test_an_unknown_environment_is_reported_with_what_there_is(
    inventory: Inventory, file: Path
) -> None:
    file.write_text(PINS)
    with pytest.raises(CommandError, match="shop/production"):
        call_command("import_requirements", "staging", str(file))


def test_the_environment_can_be_told_to_use_them(inventory: Inventory, file: Path) -> None:
    assert "installs these" in import_them(file, PINS, "--use")
    inventory.environment.refresh_from_db()
    assert inventory.environment.pins_from == Environment.PinsFrom.ROWS
