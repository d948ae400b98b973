"""From one full lock and a wish to the next full lock, by uv."""

import subprocess
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

from packaging.version import Version

from deploy_manager.exceptions import PinError
from deploy_manager.requirements.completing import _uv
from deploy_manager.requirements.pins import Pin, compare_pins, lock_text
from deploy_manager.requirements.reach import PinWish, Reach
from deploy_manager.requirements.reading import read_pins
from deploy_manager.requirements.targets import Target


@dataclass(frozen=True)
class PinMove:
    name: str
    before: str
    after: str
    why: str


@dataclass(frozen=True)
class Moved:
    pins: tuple[Pin, ...]
    moves: tuple[PinMove, ...]


def _spec(wish: PinWish, current: str) -> str:
    release = Version(current).release
    major, minor = release[0], release[1] if len(release) > 1 else 0
    match wish.reach:
        case Reach.EXACT:
            return f"=={wish.version}"
        case Reach.PATCH:
            return f">={current},<{major}.{minor + 1}"
        case Reach.MINOR:
            return f">={current},<{major + 1}"
        case Reach.FIX if wish.fixed_in:
            return f"=={wish.fixed_in[0]}"
        case _:
            return f">={current}"


def move_pins(
    lock: str,
    wishes: Sequence[PinWish],
    *,
    targets: Sequence[Target] = (),
    index_url: str = "",
    before: datetime | None = None,
    exempt: frozenset[str] = frozenset(),
    timeout: float = 120.0,
) -> Moved:
    pins = read_pins(lock)
    wanted = {wish.name: wish for wish in wishes}
    lines = []
    for pin in pins:
        major = Version(pin.version).release[0]
        spec = (
            _spec(wanted[pin.name], pin.version)
            if pin.name in wanted
            else f">={pin.version},<{major + 1}"
        )
        if pin.direct or pin.name in wanted:
            lines.append(f"{pin.name}{spec}")
    with tempfile.TemporaryDirectory() as folder:
        asked, out = Path(folder) / "requirements.in", Path(folder) / "out.txt"
        asked.write_text("\n".join(lines))
        out.write_text(lock)
        options = ["--quiet", "--universal", "--generate-hashes", "--no-header"]
        options += ["--no-emit-index-url"]
        options += [f"--default-index={index_url}"] if index_url else []
        options += [f"-P{name}" for name in wanted]
        done = subprocess.run(
            [_uv(), "pip", "compile", str(asked), "-o", str(out), *options],
            capture_output=True,
            check=False,
        )
        if done.returncode:
            raise PinError(done.stderr.decode())
        after = read_pins(out.read_text())
    changes = compare_pins(pins, after)
    moves = [
        PinMove(
            c.name,
            c.before,
            c.after,
            "asked for" if c.name in wanted else f"needed by {', '.join(wanted)}",
        )
        for c in changes
    ]
    return Moved(after, tuple(moves))


__all__ = ["Moved", "PinMove", "lock_text", "move_pins"]
