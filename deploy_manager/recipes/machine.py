"""What a site needs of the machine that it runs on, as plain data."""

from collections.abc import Iterator
from dataclasses import dataclass

PYTHON = "python3"
"""The interpreter that provisions, whatever the site itself runs on."""


@dataclass(frozen=True)
class Package:
    """A package of the system: the first of these names that the system has."""

    names: tuple[str, ...]
    why: str
    """Like `psycopg needs it`."""


@dataclass(frozen=True)
class MachineFile:
    """A file that root owns, written as it is here."""

    path: str
    text: str
    mode: int = 0o644
    is_program: bool = False
    """Whether it is named only: nobody reads our own programs as a difference."""


@dataclass(frozen=True)
class MachineNeeds:
    """What one part of a site needs of the machine: a web server, a database."""

    packages: tuple[Package, ...] = ()
    """Installed under a policy that starts nothing."""

    sudoers: tuple[str, ...] = ()
    """Commands that the account may run as root without a password, as sudoers(5) has them."""

    files: tuple[MachineFile, ...] = ()
    disable: tuple[str, ...] = ()
    """Units that installing these packages must not start, nor enable, if they are new."""

    removed: tuple[tuple[str, str], ...] = ()
    """Packages and files of theirs that would listen: taken away as they are installed."""

    commented: tuple[tuple[str, str, str], ...] = ()
    """Packages, files of theirs, and a pattern of lines that are turned into comments there."""

    replaced: tuple[tuple[str, str, str, str], ...] = ()
    """Packages, files of theirs, a pattern of a line there, and the line that takes its place."""

    modules: tuple[str, ...] = ()
    """Modules of Apache that are switched on."""


@dataclass(frozen=True)
class Machine:
    """What a server has to have for one site."""

    account: str = ""
    key: str = ""
    """The public key that lets this installation in, like `ssh-ed25519 AAAA…`; blank: unknown."""

    deploy_path: str = ""
    python: str = PYTHON
    supervisor: str = "starter"
    """As Site.supervisor: who runs the processes decides what the account needs."""

    at_boot: bool = False
    packages: tuple[Package, ...] = ()
    sudoers_path: str = ""
    sudoers: str = ""
    """The whole file; blank: none is needed."""

    makes_root: str = ""
    """Why the account may become root by what sudoers allows it; blank: it can't."""

    needs: MachineNeeds = MachineNeeds()
    """What its tiers need."""

    notes: tuple[str, ...] = ()
    """What could not be known."""

    @property
    def wants_linger(self) -> bool:
        """Whether units of the account run what is started; `auto` prefers them."""
        return self.account != "root" and self.supervisor in ("auto", "systemd-user")

    @property
    def wants_cron(self) -> bool:
        """Whether cron starts the processes after a reboot."""
        return self.at_boot and self.supervisor == "starter"

    @property
    def all_packages(self) -> tuple[Package, ...]:
        return (*self.packages, *self.needs.packages)


def describe(machine: Machine) -> Iterator[tuple[str, str]]:
    """Yield what the machine has to have, as a label and a text, for those who prepare it."""
    yield from _of_the_account(machine)
    for package in machine.all_packages:
        yield "package", f"{' or '.join(package.names)} ({package.why})"
    for unit in machine.needs.disable:
        yield "unit", f"{unit}: neither started nor enabled by being installed"
    yield from _of_the_tiers(machine.needs)
    if machine.sudoers:
        yield "sudoers", f"{machine.sudoers_path}, mode 440:\n{machine.sudoers.rstrip()}"
    for remark in filter(None, (machine.makes_root, *machine.notes)):
        yield "", remark


def _of_the_tiers(needs: MachineNeeds) -> Iterator[tuple[str, str]]:
    for package, path in needs.removed:
        yield "file", f"{path}: removed if {package} is new, since it listens everywhere"
    for package, path, _pattern in needs.commented:
        yield "file", f"{path}: listens nowhere, if {package} is new"
    for package, path, _pattern, line in needs.replaced:
        yield "file", f"{path}: {line}, if {package} is new"
    if needs.modules:
        yield "apache", f"a2enmod {' '.join(needs.modules)}"
    for file in needs.files:
        yield "file", f"{file.path}, mode {file.mode:o}"


def _of_the_account(machine: Machine) -> Iterator[tuple[str, str]]:
    if machine.account != "root":
        yield "account", f"{machine.account}: with a home, the shell bash, and no password"
    yield "key", f"in ~{machine.account}/.ssh/authorized_keys: {machine.key or 'unknown here'}"
    yield "folder", f"{machine.deploy_path}: owned by {machine.account}, mode 755"
    if machine.wants_linger:
        yield "linger", f"loginctl enable-linger {machine.account}"
    yield "package", f"{machine.python} (the site runs on it)"
    yield "package", "ca-certificates (downloads are checked by it)"
    if machine.wants_linger:
        yield "package", "libpam-systemd (units of the account need it)"
    if machine.wants_cron:
        yield "package", "cron (it starts the site after a reboot)"
    if machine.sudoers:
        yield "package", "sudo (the account needs it)"
