"""New pins for a file as people wrote it: comments, order and spelling stay."""

import pytest

from deploy_manager.exceptions import PinError
from deploy_manager.requirements.patching import patch_pins, refuse_unpatchable
from deploy_manager.requirements.pins import Pin
from deploy_manager.requirements.reading import read_pins

A, B = (f"sha256:{letter * 64}" for letter in "ab")
PEOPLES = """\
# What the shop needs.
Django == 5.2.7  # LTS
celery[redis]==5.5.0 ; python_version >= "3.11"

gone==1.0
    # via celery
# The end.
"""


def test_only_what_moved_is_rewritten() -> None:
    pins = [
        Pin("django", "5.2.8"),
        Pin("celery", "5.5.0", extras=("redis",), marker='python_version >= "3.11"'),
        Pin("newcomer", "2.0", direct=False),
    ]
    assert (
        patch_pins(PEOPLES, pins)
        == """\
# What the shop needs.
Django == 5.2.8  # LTS
celery[redis]==5.5.0 ; python_version >= "3.11"

# The end.
newcomer==2.0
    # via another package
"""
    )


def test_hashes_go_with_their_versions() -> None:
    text = (
        f"django==5.2.7 \\\n    --hash={A} \\\n    --hash={B}\n"
        f"    # via -r requirements.in\nx==1 --hash={A}\n"
    )
    after = patch_pins(text, [Pin("django", "5.2.8", hashes=(B,)), Pin("x", "1", hashes=(A,))])
    assert after == (
        f"django==5.2.8 \\\n    --hash={B}\n    # via -r requirements.in\nx==1 --hash={A}\n"
    )


@pytest.mark.parametrize("end", ["\r\n", "\n", ""])
def test_the_file_reads_back_as_the_pins(end: str) -> None:
    text = f"b==1 --hash={A}{end or chr(10)}a==v1.0 --hash={A}{end}"
    pins = (Pin("a", "2.0", hashes=(B,)), Pin("b", "1", hashes=(A,)), Pin("c", "3", hashes=(B,)))
    assert read_pins(patch_pins(text, pins)) == pins


def test_nothing_moved_nothing_changes() -> None:
    text = "a==1.0.0  # exactly\n\n\n# b\n"
    assert patch_pins(text, [Pin("a", "1.0")]) == text


@pytest.mark.parametrize(
    ("path", "text", "reason"),
    [
        ("uv.lock", "", "another tool writes it"),
        ("locks/pylock.toml", "", "another tool writes it"),
        ("r.txt", "-r base.txt\nb==1\n", "it also takes pins from base.txt"),
        ("r.txt", "a\n--constraint ./c.txt\n", "it also takes pins from ./c.txt"),
    ],
)
def test_a_file_whose_pins_are_elsewhere_is_refused(path: str, text: str, reason: str) -> None:
    with pytest.raises(PinError, match=f"{path} can't be patched: {reason}"):
        refuse_unpatchable(text, path)
    refuse_unpatchable(PEOPLES, "requirements.txt")
