"""What a deployment sends: one commit and one lock, resolved once, before any server is touched."""

from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from deploy_manager.conf import get_settings
from deploy_manager.exceptions import CodeError, PinError
from deploy_manager.git.mirror import Commit, Mirror
from deploy_manager.models import Environment
from deploy_manager.packages.overrides import LaidOver, check_that_it_fits, lay_over
from deploy_manager.packages.pins import checked_pins_of
from deploy_manager.packages.repository import committed_files, mirror_of
from deploy_manager.requirements.pins import Pin, lock_digest, lock_text
from deploy_manager.requirements.reading import read_pins, read_pins_of


@dataclass(frozen=True)
class Contents:
    """The code and the pins of a release to come."""

    commit: Commit
    repository: tuple[Pin, ...]
    """What the commit pins, or the environment lists."""

    laid: LaidOver
    """The same with what upgrades hold over it."""

    @property
    def pins(self) -> tuple[Pin, ...]:
        return self.laid.pins

    @property
    def lock(self) -> str:
        return lock_text(self.pins)

    @property
    def digest(self) -> str:
        return lock_digest(self.lock)


def find_contents(environment: Environment, ref: str) -> Contents:
    """Fetch the repository and return what `ref` means now, with its pins.

    Overrides are put over the pins here, for whatever way leads to a release. Raises CodeError (no
    such ref, repository out of reach, no manage.py), PinError and InvalidRow.
    """
    mirror = mirror_of(environment.project)
    mirror.update()
    commit = mirror.resolve(ref)
    _require_manage_py(mirror, commit, environment.project.folder)
    pins = _pins(environment, mirror, commit)
    return Contents(commit, pins, lay_over(environment, pins))


def prove(environment: Environment, contents: Contents) -> None:
    """Raise PinError where overrides do not fit with the pins of a commit; asks the index."""
    check_that_it_fits(environment, contents.laid)


def make_archive(environment: Environment, commit: str) -> Path:
    """Return the commit's code as a .tar.gz on this machine. Raises CodeError.

    Another worker may have resolved the commit: then it is fetched here first.
    """
    mirror = mirror_of(environment.project)
    try:
        return mirror.archive(commit, get_settings().MAX_ARCHIVE_BYTES)
    except CodeError:
        mirror.update()
        return mirror.archive(commit, get_settings().MAX_ARCHIVE_BYTES)


def _require_manage_py(mirror: Mirror, commit: Commit, folder: str) -> None:
    path = str(PurePosixPath(folder) / "manage.py")
    if mirror.read_file(commit.hash, path) is not None:
        return
    elsewhere = [
        str(PurePosixPath(found).parent) for found in mirror.find(commit.hash, "manage.py")
    ]
    raise CodeError(
        f"Commit {commit.hash[:8]} has no {path}."
        + (
            f" There is one in {', '.join(elsewhere)}: set the project's folder."
            if elsewhere
            else ""
        )
    )


def _pins(environment: Environment, mirror: Mirror, commit: Commit) -> tuple[Pin, ...]:
    if environment.pins_from == Environment.PinsFrom.ROWS:
        pins = checked_pins_of(environment)
        if not pins:
            raise PinError(f"{environment} has no requirements: run manage.py import_requirements.")
        # Rows may be edited by hand: what goes to a server is looked at like a file.
        return read_pins(lock_text(pins), f"{environment}'s list of requirements")
    path = environment.project.requirements_file
    files = committed_files(mirror, commit.hash)
    if files(path) is None:
        raise PinError(
            f"Commit {commit.hash[:8]} has no {path}: set the project's requirements file,"
            " or import the pins with manage.py import_requirements."
        )
    return read_pins_of(path, files, environment.project.folder)
