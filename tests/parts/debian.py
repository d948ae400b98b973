"""Base systems of Debian's releases: made once, kept outside the checkout, shared by all runs."""

import fcntl
import functools
import hashlib
import os
import platform
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from tests.parts import ways_out
from tests.parts.processes import find_program

RELEASES = ("bookworm", "trixie")
PACKAGES = (
    *("python3", "ca-certificates", "openssh-server", "sudo"),
    *("systemd", "systemd-sysv", "dbus", "dbus-user-session", "libpam-systemd"),
    *("apache2", "libapache2-mod-wsgi-py3", "nginx-light"),
    *("lighttpd", "lighttpd-mod-deflate", "lighttpd-mod-openssl", "caddy"),
    *("postgresql", "memcached", "redis-server"),
)
BARE_PACKAGES = (
    *("ca-certificates", "openssh-server"),
    *("systemd", "systemd-sysv", "dbus", "libpam-systemd"),
)
"""What a server has that nobody has set up yet: no Python, no sudo, no account but root."""

PYTHONS = {"bookworm": "3.11", "trixie": "3.13"}
SITE_PACKAGES = ("django~=5.2.0", "gunicorn", "uvicorn", "daphne", "celery")
"""What the sites on machines are made of, for the Python of their release."""

ACCOUNT = "deploy"
LOGINS = Path("/etc/ssh/authorized_keys")
"""The keys that open each account of a machine."""

FILES = {
    f"/etc/sudoers.d/{ACCOUNT}": f"{ACCOUNT} ALL=(ALL) NOPASSWD: ALL\n".encode(),
    "/etc/ssh/sshd_config.d/keys.conf": f"AuthorizedKeysFile {LOGINS}\n".encode(),
    f"/var/lib/systemd/linger/{ACCOUNT}": b"",
}
# A key and an id are each machine's own. Timers would use the network and lock dpkg at random.
FINISH = f"""set -e
useradd --create-home --shell /bin/bash --password '*' {ACCOUNT}
chmod 440 /etc/sudoers.d/{ACCOUNT}
rm -f /etc/ssh/ssh_host_* /etc/machine-id
ln -sf /etc/machine-id /var/lib/dbus/machine-id
for timer in apt-daily apt-daily-upgrade e2scrub_all dpkg-db-backup; do
    ln -sf /dev/null /etc/systemd/system/$timer.timer
done
# They would listen on every address of this machine: a test starts what it needs.
rm -f /etc/systemd/system/redis.service
for unit in apache2 nginx lighttpd caddy postgresql memcached redis-server; do
    rm -f /etc/systemd/system/multi-user.target.wants/$unit.service
done
sed -i "s/^#listen_addresses = 'localhost'/listen_addresses = ''/" \\
    /etc/postgresql/*/main/postgresql.conf
apt-get clean
"""
BARE_FINISH = """set -e
rm -f /etc/ssh/ssh_host_* /etc/machine-id
ln -sf /etc/machine-id /var/lib/dbus/machine-id
for timer in apt-daily apt-daily-upgrade e2scrub_all dpkg-db-backup; do
    ln -sf /dev/null /etc/systemd/system/$timer.timer
done
"""
UNUSED_AFTER = 30 * 24 * 3600.0
"""Seconds after which a base that nobody used is removed."""


@dataclass(frozen=True)
class Recipe:
    """All that makes a base system: one that differs in anything has another name."""

    release: str
    files: Mapping[str, bytes] = field(default_factory=lambda: FILES | ways_out.files())
    packages: tuple[str, ...] = PACKAGES
    finish: str = FINISH

    @property
    def name(self) -> str:
        digest = hashlib.sha256(
            repr((self.packages, self.finish, sorted(self.files.items()))).encode()
        )
        return f"{self.release}-{digest.hexdigest()[:16]}"


def cache_folder() -> Path:
    """Return where base systems and the disks of machines lie: TEST_MACHINES names another place.

    It has to be on a disk that an overlay can write to: a container's own root often is not.
    """
    cache = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    folder = Path(os.environ.get("TEST_MACHINES") or Path(cache) / "deploy_manager_tests")
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    return folder


@functools.cache
def base_system(release: str, bare: bool = False) -> Path:
    """Return the folder of a release's base system; the first time it is made, in a minute or two.

    A bare one is as a provider hands it over. Fails the test with what to install, or with what
    debootstrap said.
    """
    if bare:
        return base_of(Recipe(release, ways_out.files(), BARE_PACKAGES, BARE_FINISH))
    return base_of(Recipe(release))


def base_of(recipe: Recipe) -> Path:
    """Return the folder of a recipe's base system: of several processes, one makes it."""
    bases = cache_folder() / "bases"
    bases.mkdir(exist_ok=True)
    base, lock = bases / recipe.name, bases / f"{recipe.name}.lock"
    with locked(lock):
        if not base.exists():
            unfinished = bases / f"{recipe.name}.new"
            _make(recipe, unfinished)
            unfinished.rename(base)
        os.utime(lock)
    _remove_unused(bases)
    return base


@functools.cache
def site_packages(release: str) -> Path:
    """Return a folder with SITE_PACKAGES, for the Python that a release has; made once."""
    digest = hashlib.sha256(repr((SITE_PACKAGES, PYTHONS[release])).encode()).hexdigest()[:16]
    folder = cache_folder() / "packages" / f"{release}-{digest}"
    folder.parent.mkdir(exist_ok=True)
    with locked(folder.with_suffix(".lock")):
        if not folder.exists():
            unfinished = folder.with_suffix(".new")
            remove(unfinished)
            machine = platform.machine()
            options = [f"--platform=manylinux_2_{n}_{machine}" for n in (17, 28, 34)]
            options += [f"--platform=manylinux2014_{machine}", "--only-binary=:all:", "--quiet"]
            options += [f"--python-version={PYTHONS[release]}", f"--target={unfinished}"]
            command = [sys.executable, "-m", "pip", "install", *options, *SITE_PACKAGES]
            done = subprocess.run(command, capture_output=True, text=True, check=False)
            assert done.returncode == 0, f"Packages of sites on machines: {done.stderr}"
            unfinished.rename(folder)
    return folder


@contextmanager
def locked(file: Path) -> Iterator[None]:
    """Hold a lock that ends with this process, too. The file stays: others may wait for it."""
    with file.open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def remove(folder: Path) -> None:
    """Remove a folder, unless something is mounted in it: that would be emptied."""
    mounts = [line.split()[4] for line in Path("/proc/self/mountinfo").read_text().splitlines()]
    inside = [point for point in mounts if point.startswith(f"{folder}/")]
    assert not inside, f"{folder} is not removed: {inside} are mounted there."
    with suppress(FileNotFoundError):
        shutil.rmtree(folder)


def _make(recipe: Recipe, folder: Path) -> None:
    remove(folder)  # of a process that was killed
    command = [
        # If the tests are killed, so is all that it started; what it mounted ends with it.
        *("setpriv", "--pdeathsig", "KILL", "unshare", "--pid", "--fork", "--kill-child"),
        *("--mount", "--propagation", "private"),
        *(find_program("debootstrap", "debootstrap"), "--variant=minbase"),
        *(f"--include={','.join(recipe.packages)}", recipe.release, str(folder), _archive()),
    ]
    _run(command)
    for path, content in recipe.files.items():
        file = folder / path.lstrip("/")
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_bytes(content)
    _run(["chroot", str(folder), "sh", "-c", recipe.finish])


def _archive() -> str:
    """Return the URL of Debian's archive in apt's own sources."""
    command = ["apt-get", "indextargets", "--format", "$(LABEL) $(REPO_URI)"]
    shown = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    found = [line.split()[1] for line in shown.splitlines() if line.startswith("Debian ")]
    if not found:
        pytest.fail("apt has not read Debian's archive: name it in its sources, apt-get update")
    return found[0]


def _run(command: list[str]) -> None:
    # Its own PATH: a Debian system has no other, whoever runs the tests.
    done = subprocess.run(
        command,
        env={**ways_out.environment(), "PATH": "/usr/sbin:/usr/bin:/sbin:/bin", "LC_ALL": "C"},
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        check=False,
    )
    if done.returncode:
        pytest.fail(f"{command} failed:\n{done.stdout[-3000:]}", pytrace=False)


def _remove_unused(bases: Path) -> None:
    """Remove the bases of recipes that nobody used for long."""
    for lock in bases.glob("*.lock"):
        if lock.stat().st_mtime < time.time() - UNUSED_AFTER:
            remove(lock.with_suffix(""))
            remove(lock.with_suffix(".new"))
