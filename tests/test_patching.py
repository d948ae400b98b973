"""New pins for a file as people wrote it: comments, order and spelling stay."""

from dataclasses import replace

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


@pytest.mark.parametrize(
    ("before", "after"),
    [
        (f"a==1 --hash={A}  # why", f"a==2 \\\n    --hash={B}  # why"),
        (f"a==1 --hash={A} --hash={B} # --hash={A}", f"a==2 \\\n    --hash={B} # --hash={A}"),
        (f"a==1 --hash {A}", f"a==2 \\\n    --hash={B}"),
        (f"a == 1 \\\n  --hash={A} \\\n  --hash={B} # why", f"a == 2 \\\n    --hash={B} # why"),
        (f"a==1 --hash={A} # why \\\n  not", f"a==2 \\\n    --hash={B} # why not"),
        (f"a==1\\\n --hash={A}\\\n --hash={B}", f"a==2 \\\n    --hash={B}"),
        (f"a==1 ; python_version > '3' --hash={A} # x", None),
        (f"a==1 ; python_version > '3' \\\n --hash={A} # x", None),
    ],
)
def test_new_hashes_come_before_the_comment(before: str, after: str | None) -> None:
    (pin,) = read_pins(f"{before}\n")
    new = replace(pin, version="2", hashes=(B,))
    text = patch_pins(f"{before}\n", [new])
    assert read_pins(text) == (new,)
    if after is not None:
        assert text == f"{after}\n"


def test_a_comment_with_a_hash_gives_none_to_its_pin() -> None:
    text = patch_pins(f"a==1  # no --hash={A} yet\n", [Pin("a", "2", hashes=(B,))])
    assert text == f"a==2  # no --hash={A} yet\n"


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
