"""The arguments of a recipe: a host to run commands on, and the site as plain data.

A recipe knows no model and no Celery. Dry run, this machine, SSH and tests differ only in the host.
"""

import re
import shlex
from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol, runtime_checkable

from django.utils.translation import gettext_noop as _

from deploy_manager.drift import Pinned
from deploy_manager.exceptions import RecipeError
from deploy_manager.logins import PasswordLogin
from deploy_manager.messages import Message
from deploy_manager.recipes.machine import Machine
from deploy_manager.sealing import Secret
from deploy_manager.tiers.kinds import Facts

OLDEST_PYTHON = (3, 11)
"""The minimum on a server: the tools that are sent there are written for it."""

PRINT_VERSION = "import platform; print(platform.python_version())"
"""Code that even very old Pythons can run, to find out their version."""

Command = str | Sequence[str]
"""A line of sh, or a list of words, which are then quoted."""


@dataclass(frozen=True)
class Result:
    """How a command ended, with the last 1 MiB of each stream; the log has all of it."""

    exit_code: int
    stdout: str
    stderr: str

    @property
    def ok(self) -> bool:
        return self.exit_code == 0


class Host(Protocol):
    """One server, for the time of one deployment."""

    name: str

    def run(
        self,
        command: Command,
        *,
        stdin: bytes = b"",
        timeout: float | None = None,
        check: bool = True,
        quiet: bool = False,
        assume: Result | int = 0,
    ) -> Result:
        """Run a command with sh and write its output to the log.

        `timeout` is in seconds (default: the setting STEP_TIMEOUT). `quiet` keeps both the command
        and its output out of the log. `assume` is how the command ends in a dry run: an exit code,
        or a result if the recipe reads the output.
        Raises CommandFailed for an exit code other than 0 unless `check` is False,
        CommandTimedOut, Cancelled, ConnectionLost.
        """

    def put(self, content: bytes | Path, target: str, mode: int = 0o644) -> None:
        """Write bytes, or the file at a path of this machine, to `target` on the server.

        The target appears complete or not at all (written beside, then renamed).
        """

    def cd(self, folder: str) -> AbstractContextManager[None]:
        """Run the commands of the `with` block in this folder."""

    def say(self, text: str) -> None:
        """Add a line of our own to the log."""


@runtime_checkable
class LastingHost(Host, Protocol):
    """A host on which a command may go on from one step to the next."""

    def run_until(
        self,
        command: Command,
        line: str | None,
        *,
        begun_by: int,
        steps: int = 1,
        stdin: bytes = b"",
    ) -> Result:
        """Run a command that several steps wait for, each for its own line; nothing is logged.

        The step number `begun_by` starts it, and those after it wait for the same command: it goes
        on in between. Returns once a line that begins with `line` was printed (None: once the
        command has ended), with all that was printed until then; the exit code is 0 while it runs.
        Each of the `steps` may take as long as the setting STEP_TIMEOUT. Raises as `run` does, and
        NeverBegun if that step did not start it.
        """


class BuildHost(Host, Protocol):
    """A host that files can be downloaded from."""

    def get(self, source: str, target: Path, most: int) -> None:
        """Write a file of the server to `target` on this machine, if it is at most `most` bytes.

        Raises RecipeError; part of the file may be at the target then.
        """


@dataclass(frozen=True)
class Builder:
    """A server that builds wheels for packages that have none."""

    name: str
    """Its name in messages."""

    python: str
    """The interpreter there that builds them."""

    open: Callable[[], AbstractContextManager[BuildHost]]
    """Connects to it. Raises HostUnreachable, HostKeyMismatch, Cancelled."""


@dataclass(frozen=True)
class Reload:
    """How a site's server process is made to serve the new release."""

    method: str
    """A key of `serving.METHODS`."""

    target: str = ""
    """The WSGI file to touch (relative to the code), the unit, the program, or the command."""

    wsgi: str = ""
    """`package.module:application`; blank: WSGI_APPLICATION of the site's settings."""

    workers: int = 2
    bind: str = ""
    """host:port that gunicorn listens on, or unix:/path."""


@dataclass(frozen=True)
class Process:
    """One thing that a site runs on this server, beside or instead of a plain gunicorn."""

    name: str
    kind: str
    """wsgi, asgi, worker, beat or command: see models/processes.py."""

    command: str = ""
    """A line of sh with placeholders like {port}; blank: the usual one of its kind."""

    application: str = ""
    """`package.module:name`, or what celery calls its app; blank: found by the settings."""

    number: int = 1
    """How many of it run; of wsgi and asgi, how many workers it has."""

    bind: str = ""
    stop_signal: str = "TERM"
    stop_seconds: int = 30
    stays_up: int = 10
    """Seconds for which it has to run without a restart, unless its answers prove it."""

    memory: int = 0
    """MiB at most; 0: no limit. Only systemd keeps it."""

    health: str = "up"
    """up, ping, http or command."""

    health_target: str = ""


@dataclass(frozen=True)
class HealthCheck:
    """The HTTP answer that proves a release is serving."""

    url: str = ""
    """Requested from the server itself; blank: no health check."""

    status: int = 200
    text: str = ""
    host_header: str = ""
    deadline: float = 30.0
    """Seconds from the first attempt to the last."""


_CURRENT_NAME = '"$(basename -- "$(readlink -f -- %s)")"'
"""For sh: the name of the release that serves."""


@dataclass(frozen=True)
class Site:
    """One environment on one server: paths, pins and settings, as plain data."""

    environment: str
    deploy_path: str
    roles: frozenset[str] = frozenset()
    release: str = ""
    """Name of the release to work on; blank: the one that is `current`."""

    commit: str = ""
    archive: Path | None = None
    """The commit's code as .tar.gz on this machine, for a recipe that creates a release."""

    folder: str = ""
    """The folder of manage.py, relative to the top of the repository."""

    python: str = "python3"
    """The server's interpreter that virtual environments are created from."""

    installer: str = "pip"
    """pip or uv."""

    lock: str = ""
    """The pins as the text of a requirements file, with hashes when there are any."""

    pins: Mapping[str, Sequence[Pinned]] = field(default_factory=dict)
    """The pins in `lock`, by package name."""

    origins: Mapping[str, str] = field(default_factory=dict)
    """The URLs of pins that come from no index, by package name."""

    lock_digest: str = ""
    """sha256 of `lock`, hexadecimal."""

    index_url: str = ""
    """Its login, if it has one, comes with it: see logins.Index."""

    sudo: PasswordLogin | None = None
    """By which password the account becomes root, still closed; None: it needs none."""

    wheels: str = "index"
    """index: the server downloads them; shipped: the worker sends those the server lacks."""

    builder: Builder | None = None
    """For shipped wheels; None: a package without a wheel can't be installed."""

    may_fetch: bool = True
    """Whether the worker may download and build; False in a dry run or a replay."""

    settings_module: str = ""
    variables: dict[str, str] = field(default_factory=dict)
    secret_variables: Mapping[str, Secret] = field(default_factory=dict)
    """Further ones, whose values are masked wherever text leaves."""

    shared: tuple[str, ...] = ()
    """Folders and files of the release that live in shared/ (relative paths)."""

    migrates: bool = True
    """Whether deployments migrate: a site may do that by hand."""

    migrate_databases: tuple[str, ...] = ()
    """Names in DATABASES, in the order of their migrations; empty: the default one."""

    lock_timeout: int = 0
    """Seconds that a migration waits for a lock of PostgreSQL; 0: as long as it takes."""

    keep_backups: int = 0
    """Backups of each database to keep, one before each migration; 0: none is made."""

    build_commands: tuple[str, ...] = ()
    """Lines of sh that build what the code lacks: the repository's, then the environment's."""

    together: tuple[str, ...] = ()
    """Steps that share one process inside the project, in order; see recipes/in_project.py."""

    begun_by: int = 0
    """The number of the step that starts it."""

    smoke_command: str = ""
    """A line of sh that tests a release before it serves; blank: none."""

    supervisor: str = "starter"
    """auto, systemd, systemd-user or starter: what runs the processes that are ours."""

    at_boot: bool = False
    """Whether they are started after a reboot, too."""

    unit_prefix: str = "site"
    """What names of units begin with: unique on the server."""

    processes: tuple[Process, ...] = ()
    """Those of the environment that run on this server."""

    processes_elsewhere: frozenset[str] = frozenset()
    """Names of those that run on other servers only."""

    web_elsewhere: bool = False
    """Whether one of these serves the web."""

    serves_web: bool = True
    """Whether this server, by its roles, serves the web at all."""

    procfile: bool = False
    """Whether the processes in the repository's Procfile are run, too."""

    known_roles: frozenset[str] = frozenset()
    """Roles that any server of the environment has."""

    first_in: frozenset[str] = frozenset()
    """Roles of which this is the environment's first server: what runs only once runs here."""

    is_first: bool = True
    arguments: tuple[str, ...] = ()
    """The words after manage.py that the request brought, for a one-off command."""

    tiers: tuple[Facts, ...] = ()
    """Web servers, databases and caches of the environment that are on this server."""

    reload: Reload = Reload("none")
    health: HealthCheck = HealthCheck()
    keep_releases: int = 5
    keep: frozenset[str] = frozenset()
    """Names of releases that are never removed, whatever their age."""

    forced_migrations: frozenset[str] = frozenset()
    """Irreversible migrations that a rollback may leave applied."""

    keep_database: bool = False
    """Whether a rollback leaves the database as it is."""

    machine: Machine = field(default_factory=Machine)
    """What the server itself has to have; only recipes of the bootstrap user are told."""

    own_tools_path: str = ""
    """The folder of our own files, if it is not in the deploy path."""

    cache: Path = Path("~/.cache/deploy_manager/tools")
    """Folder on this machine for tools that are packed once and sent to servers."""

    wheels_cache: Path = Path("~/.cache/deploy_manager/wheels")
    """Folder on this machine for wheels that are downloaded or built once."""

    @property
    def current_path(self) -> str:
        return f"{self.deploy_path}/current"

    @property
    def releases_path(self) -> str:
        return f"{self.deploy_path}/releases"

    @property
    def venvs_path(self) -> str:
        return f"{self.deploy_path}/venvs"

    @property
    def shared_path(self) -> str:
        return f"{self.deploy_path}/shared"

    @property
    def static_path(self) -> str:
        return f"{self.deploy_path}/static"

    @property
    def backups_path(self) -> str:
        return f"{self.deploy_path}/backups"

    @property
    def tools_path(self) -> str:
        return self.own_tools_path or f"{self.deploy_path}/.deploy"

    @property
    def cache_path(self) -> str:
        """A folder for what builds download, which outlives releases and may be removed anytime."""
        return f"{self.tools_path}/cache"

    @property
    def release_path(self) -> str:
        """The folder of the release to work on, or `current`."""
        return f"{self.releases_path}/{self.release}" if self.release else self.current_path

    @property
    def code_path(self) -> str:
        """The folder of manage.py in that release."""
        return f"{self.release_path}/{self.folder}" if self.folder else self.release_path

    @property
    def python_path(self) -> str:
        """The interpreter of the release's virtual environment."""
        return f"{self.release_path}/venv/bin/python"

    @property
    def variables_path(self) -> str:
        """A file of quoted `export` lines that every process of the release reads.

        It is outside the code, where no commit can put a file or link and no web server looks.
        """
        return f"{self.tools_path}/environment/{self.require_release()}"

    def require_release(self) -> str:
        """Return the name of the release; raises RecipeError if there is none yet."""
        if not self.release:
            raise RecipeError(
                _("%(environment)s has no release yet: run checkout_latest first."),
                environment=self.environment,
            )
        return self.release

    def in_release(self, *words: str) -> str:
        """Return a quoted line of sh that runs `words` in the code, with the site's variables."""
        return f"{self.enter_release()} && {shlex.join(words)}"

    def enter_release(self) -> str:
        """Return a quoted line of sh that enters the code and sets the site's variables.

        Releases of early versions have their variables in the code, as .deploy.env.
        """
        known = (
            shlex.quote(self.release)
            if self.release
            else _CURRENT_NAME % shlex.quote(self.current_path)
        )
        outside = f"{shlex.quote(f'{self.tools_path}/environment')}/{known}"
        inside = shlex.quote(f"{self.release_path}/.deploy.env")
        return (
            f"cd {shlex.quote(self.code_path)} && {{ deploy_env={outside};"
            f' [ -f "$deploy_env" ] || deploy_env={inside}; }} && . "$deploy_env"'
        )

    def manage(self, *arguments: str) -> str:
        """Return a quoted line of sh for `manage.py <arguments>` in the release."""
        return self.in_release(self.python_path, "manage.py", *arguments)


def python_problem(name: str, version: str, oldest: Sequence[int] = OLDEST_PYTHON) -> Message:
    """Return what is wrong with a server's Python and what to do; blank if it is new enough.

    `version` is its own answer, `oldest` like (3, 11).
    """
    found = re.match(r"(\d+)\.(\d+)", version)
    if found is None:
        return Message(
            _("The Python of %(name)s does not report its version, but %(version)s: check it."),
            name=name,
            version=repr(version),
        )
    if (int(found[1]), int(found[2])) >= tuple(oldest):
        return Message()
    return Message(
        _(
            "%(name)s has Python %(version)s, but %(oldest)s or later is needed: install one there,"
            " and enter it as the environment's “Python”."
        ),
        name=name,
        version=version,
        oldest=".".join(map(str, oldest)),
    )
