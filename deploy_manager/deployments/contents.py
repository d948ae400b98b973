"""The contents of a release: one commit and its pins, resolved before any server is touched."""

from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from django.utils.translation import gettext_noop as _

from deploy_manager.conf import get_settings
from deploy_manager.deployments.deploy_file import OWN_FILE, PROJECT_FILE, read_build_commands
from deploy_manager.deployments.settings_modules import refuse_several_settings
from deploy_manager.exceptions import CodeError, PinError
from deploy_manager.git.mirror import Commit, Mirror
from deploy_manager.git.settings_modules import ENTRANCES
from deploy_manager.models import Environment
from deploy_manager.packages.overrides import LaidOver, lay_over
from deploy_manager.packages.pins import checked_pins_of
from deploy_manager.packages.repository import committed_files, mirror_of
from deploy_manager.requirements.line_kinds import Files
from deploy_manager.requirements.pins import Pin, lock_digest, lock_text
from deploy_manager.requirements.reading import read_pins, read_pins_of


@dataclass(frozen=True)
class Contents:
    """The code and the pins of a release to come."""

    commit: Commit
    repository: tuple[Pin, ...]
    """The pins of the commit, or those that the environment lists."""

    laid: LaidOver
    """The same pins, with the overrides of upgrades laid over them."""

    build: tuple[str, ...] = ()
    """The build commands that the commit names, without the environment's own."""

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

    Overrides are laid over the pins here, for every way that leads to a release. Raises CodeError
    (no such ref, repository out of reach, no manage.py, several settings modules, an unusable
    deploy.toml), PinError and
    InvalidRow.
    """
    mirror = mirror_of(environment.project)
    mirror.update()
    commit = mirror.resolve(ref)
    _read_ahead(environment, mirror, commit)
    path = str(PurePosixPath(environment.project.folder) / "manage.py")
    if mirror.read_file(commit.hash, path) is None:
        found = mirror.find(commit.hash, "manage.py")
        folders = ", ".join(str(PurePosixPath(each).parent) for each in found)
        text = _("Commit %(hash)s has no %(path)s.")
        if folders:
            text = _(
                "Commit %(hash)s has no %(path)s. There is one in %(folders)s: set the project's"
                " folder."
            )
        raise CodeError(text, hash=commit.hash[:8], path=path, folders=folders)
    refuse_several_settings(environment, mirror, commit.hash)
    read = committed_files(mirror, commit.hash)
    build = read_build_commands(read, environment.project.folder)
    pins = _pins(environment, read, commit)
    return Contents(commit, pins, lay_over(environment, pins), build)


def _read_ahead(environment: Environment, mirror: Mirror, commit: Commit) -> None:
    """Read all at once what is asked for below: each look of its own would start git."""
    project = environment.project
    places = (PurePosixPath(project.folder), PurePosixPath())
    files = (str(place / name) for place in places for name in (OWN_FILE, PROJECT_FILE))
    mirror.read_ahead(commit.hash, ENTRANCES, [project.requirements_file, *files])


def _pins(environment: Environment, files: Files, commit: Commit) -> tuple[Pin, ...]:
    if environment.pins_from == Environment.PinsFrom.ROWS:
        pins = checked_pins_of(environment)
        if not pins:
            raise PinError(
                _("%(environment)s has no requirements: run manage.py import_requirements."),
                environment=environment,
            )
        # Rows may be edited by hand: what goes to a server is read like a file.
        return read_pins(lock_text(pins), f"{environment}'s list of requirements")
    path = environment.project.requirements_file
    if files(path) is None:
        raise PinError(
            _(
                "Commit %(hash)s has no %(path)s: set the project's requirements file, or "
                "import the pins with manage.py import_requirements."
            ),
            hash=commit.hash[:8],
            path=path,
        )
    return read_pins_of(path, files, environment.project.folder)


def make_archive(environment: Environment, commit: str) -> Path:
    """Return the commit's code as a .tar.gz on this machine. Raises CodeError."""
    return _mirror_with(environment, commit).archive(commit, get_settings().MAX_ARCHIVE_BYTES)


def check_code(environment: Environment, commit: str) -> None:
    """Raise CodeError if code that a server has or had may not be made a release as it is set up.

    The environment may have changed since that commit was first deployed.
    """
    refuse_several_settings(environment, _mirror_with(environment, commit), commit)


def _mirror_with(environment: Environment, commit: str) -> Mirror:
    mirror = mirror_of(environment.project)
    if not mirror.has(commit):
        # Another worker may have resolved the commit: this machine's clone does not have it yet.
        mirror.update()
    return mirror
