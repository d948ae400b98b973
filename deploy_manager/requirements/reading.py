"""Read full sets of exact pins, as data only, or report every line that is not a pin."""

from collections.abc import Sequence

from django.utils.translation import gettext_noop as _

from deploy_manager.exceptions import PinError
from deploy_manager.messages import Message
from deploy_manager.requirements.any_file import read_asking
from deploy_manager.requirements.asked import Problem
from deploy_manager.requirements.line_kinds import Files
from deploy_manager.requirements.pinning import pin_asking
from deploy_manager.requirements.pins import Pin
from deploy_manager.requirements.text_files import read_text_files

HOW_TO_PIN = Message(
    _(
        "Pin everything: uv pip compile --generate-hashes --no-strip-extras requirements.in"
        " -o requirements.txt."
    )
)
MOST_PROBLEMS = 10
"""In one message; the others are counted."""

_ALONE = "requirements.txt"


def read_pins(text: str, path: str = "requirements.txt") -> tuple[Pin, ...]:
    """Return the pins of a requirements file's text, sorted by name; `path` is for messages.

    Raises PinError, which lists the lines that are not exact pins and says what to do. Included
    files are not read: see `read_pins_of`.
    """
    pinned = pin_asking(read_text_files(_ALONE, {_ALONE: as_bytes(text)}.get))
    return _all_of(pinned.pins, pinned.problems, _ALONE, path)


def read_pins_of(path: str, files: Files, folder: str = "") -> tuple[Pin, ...]:
    """Return the pins of any file that `read_asking` reads, included files among them.

    `folder` is the site's, which selects the member of a workspace. Raises PinError, which lists
    the lines that are not exact pins and says what to do.
    """
    pinned = pin_asking(read_asking(path, files, folder=folder))
    return _all_of(pinned.pins, pinned.problems, path, path)


def as_bytes(text: str) -> bytes:
    """Encode a text as a file, with a mark that it is UTF-8 whatever a comment in it says."""
    return f"\ufeff{text.removeprefix(chr(0xFEFF))}".encode(errors="replace")


def describe_problems(problems: Sequence[Problem], top: str = "") -> str:
    """Return the first problems in one line; those of the file `top` without its name."""
    lines = [
        f"line {one.line}: {one.reason}" if one.line and one.file == top else str(one)
        for one in problems[:MOST_PROBLEMS]
    ]
    if len(problems) > MOST_PROBLEMS:
        lines.append(f"and {len(problems) - MOST_PROBLEMS} more")
    return "; ".join(lines)


def check_whole(pins: Sequence[Pin], path: str) -> None:
    """Raise PinError if there are no pins, or if only some of them have hashes."""
    if not pins:
        raise PinError(_("%(path)s pins nothing. %(how)s"), path=path, how=HOW_TO_PIN)
    indexed = [pin for pin in pins if not pin.url]  # the others have their commit, or their hash
    bare = [pin.name for pin in indexed if not pin.hashes]
    if bare and len(bare) < len(indexed):
        raise PinError(
            _(
                "%(path)s has hashes for some packages but not for %(bare)s: pip requires "
                "hashes for all or for none. %(how)s"
            ),
            path=path,
            bare=", ".join(bare[:5]),
            how=HOW_TO_PIN,
        )


def _all_of(
    pins: tuple[Pin, ...], problems: Sequence[Problem], file: str, path: str
) -> tuple[Pin, ...]:
    if problems:
        reasons = describe_problems(problems, file)
        raise PinError(
            _("%(path)s is not a full set of exact pins: %(reasons)s. %(how)s"),
            path=path,
            reasons=reasons,
            how=HOW_TO_PIN,
        )
    check_whole(pins, path)
    return pins
