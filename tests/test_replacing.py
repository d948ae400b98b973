"""What an upgrade brought is replaced wherever it is still installed; what people wrote stays."""

import pytest

from deploy_manager.requirements.pins import Pin, lock_text
from deploy_manager.requirements.reading import read_pins
from deploy_manager.requirements.replacing import replace_moved

OLD = 'shopkit==1.0 ; python_version < "3.11"'
NEW = 'shopkit==1.0 ; python_version >= "3.11"'


def pins(lines: str) -> tuple[Pin, ...]:
    """Read the lines between bars, with a package that nothing moves."""
    return read_pins(f"helper==1.0|{lines}".replace("|", "\n"))


@pytest.mark.parametrize(
    ("listed", "old", "new", "after", "left"),
    [
        ("shopkit==1.1", "shopkit==1.1", "shopkit==1.0", "shopkit==1.0", set()),
        ("shopkit==1.2", "shopkit==1.1", "shopkit==1.0", "shopkit==1.2", {"shopkit"}),
        ("shopkit==1.0", "shopkit==1.1", "shopkit==1.0", "shopkit==1.0", set()),
        ("", "shopkit==1.1", "shopkit==1.0", "", {"shopkit"}),
        # Behind a marker that people added, which stays.
        (NEW.replace("1.0", "1.1"), "shopkit==1.1", "shopkit==1.0", NEW, set()),
        # In one of two places, in the other of which people have another version.
        (
            f"{OLD.replace('1.0', '1.1')}|{NEW.replace('1.0', '1.2')}",
            "shopkit==1.1",
            "shopkit==1.0",
            f"{OLD}|{NEW.replace('1.0', '1.2')}",
            {"shopkit"},
        ),
        # People have it where the upgrade changed nothing.
        (NEW, f"{OLD.replace('1.0', '1.1')}|{NEW}", f"{OLD}|{NEW}", NEW, set()),
        # What was there before is known of a part of the places only.
        ("shopkit==1.1", f"{OLD.replace('1.0', '1.1')}", OLD, "shopkit==1.0", set()),
        # Added, and removed, by the upgrade.
        (NEW, "shopkit==1.0", "", "", set()),
        ("", "", "shopkit==1.0", "shopkit==1.0", set()),
        ("shopkit==1.2", "", "shopkit==1.0", "shopkit==1.2", {"shopkit"}),
    ],
)
def test_what_moved_is_replaced_wherever_it_is_still_installed(
    listed: str, old: str, new: str, after: str, left: set[str]
) -> None:
    found = replace_moved(pins(listed), pins(old), pins(new), {"shopkit"})
    assert lock_text(found.pins) == lock_text(pins(after))
    assert found.left == left


def test_pins_have_hashes_all_or_none() -> None:
    hashed = tuple(Pin(name, "1.1", hashes=("sha256:a",)) for name in ("helper", "shopkit"))
    kept = replace_moved(hashed, hashed, hashed, {"shopkit"})
    assert all(pin.hashes for pin in kept.pins)
    found = replace_moved(hashed, hashed, (Pin("shopkit", "1.0"),), {"shopkit"})
    assert not any(pin.hashes for pin in found.pins)
