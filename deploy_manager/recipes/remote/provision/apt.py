"""Packages of the system, by apt: what is installed, what it has, and installing it."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

from . import servers
from .changes import NETWORKING, Change, Facts, Problem, ask, do, last_lines

LISTS = "/var/lib/apt/lists"
WAITING = ["-o", "DPkg::Lock::Timeout=300", "-o", "Acquire::Retries=2"]
INSTALL = ["--no-install-recommends", "--no-remove", "-o", "Dpkg::Options::=--force-confold"]
"""What others have installed stays: apt fails rather than remove it."""

NO_CACHES = ["-o", "Dir::Cache::pkgcache=", "-o", "Dir::Cache::srcpkgcache="]
"""Else a mere question would write them."""

POLICY = "/usr/sbin/policy-rc.d"
POLICY_HEADER = "#!/bin/sh\n# Written by deploy_manager while it installs:"
OURS = {
    "python3": "the site runs on it",
    "ca-certificates": "downloads are checked by it",
}
OLDEST_SITE_PYTHON = (3, 11)
PYTHON_NAME = re.compile(r"python3(\.[0-9]+)?")


def look(facts: Facts) -> Iterator[Change]:
    """Yield the packages that are missing. Raises Problem."""
    if is_interrupted():
        finish = "~ dpkg: an installation that was interrupted is finished"
        yield Change(finish, finish_interrupted)
    yield from of_the_site(facts)
    yield from of_its_tiers(facts["needs"])


def finish_interrupted() -> None:
    stream(["dpkg", "--configure", "-a"])


def remarks(facts: Facts) -> Iterator[str]:
    """Yield what nobody can install: apt has none of its names."""
    if not has_lists():
        return
    there, known = installed(), candidates(facts)
    for package in [*facts["packages"], *facts["needs"]["packages"]]:
        names = package["names"]
        if not there & set(names) and not known & set(names):
            yield f"! apt has no package {' or '.join(names)} ({package['why']}): look for another."


def of_the_site(facts: Facts) -> Iterator[Change]:
    wanted: dict[str, str] = dict(OURS)
    if facts["linger"]:
        wanted["libpam-systemd"] = "units of the account need it"
    if facts["cron"]:
        wanted["cron"] = "it starts the site after a reboot"
    if facts["sudoers"]:
        wanted["sudo"] = "the account needs it"
    wanted.update(python_package(facts["python"]))
    there, known = installed(), candidates(facts)
    missing = {name: why for name, why in wanted.items() if name not in there}
    missing.update(missing_of(facts["packages"], there, known))
    yield from install_changes(missing)


def of_its_tiers(needs: Facts) -> Iterator[Change]:
    there, known = installed(), candidates({"packages": [], "needs": needs})
    missing = missing_of(needs["packages"], there, known)
    if (work := work_in_policy()) is not None:
        line = f"- {POLICY}, which an interrupted installation has left"
        yield Change(line, lambda: end_policy(work))
    if missing:
        first, *others = install_changes(missing)
        yield first._replace(make=lambda: install_quietly(list(missing), needs))
        yield from others
        for unit in new_units(needs):
            yield Change(f"  {unit} is neither started nor enabled by that", nothing)


def install_changes(missing: dict[str, str]) -> Iterator[Change]:
    """Yield a line for each package; the first installs them all, at once."""
    names = list(missing)
    for name, why in missing.items():
        make = nothing if name != names[0] else lambda: install(names)
        yield Change(f"+ apt: {name} ({why})", make)


def nothing() -> None:
    """Do nothing: the change before it did this as well."""


def missing_of(packages: list[Facts], there: set[str], known: set[str]) -> dict[str, str]:
    """Return which of the packages are to be installed, and why: the first name that apt has."""
    found: dict[str, str] = {}
    for package in packages:
        names = package["names"]
        if there & set(names):
            continue
        available = [name for name in names if name in known]
        # Without lists nothing is known yet: they are read before anything is installed.
        if available or not has_lists():
            found[(available or names)[0]] = package["why"]
    return found


def python_package(python: str) -> dict[str, str]:
    """Return the package of the site's Python, if it is missing. Raises Problem."""
    if shutil.which(python):
        version = ask(python, "-c", "import sys; print(*sys.version_info[:2])").stdout.split()
        if len(version) == 2 and tuple(map(int, version)) < OLDEST_SITE_PYTHON:
            raise Problem(
                f"{python} is Python {'.'.join(version)}, but 3.11 or later is needed: install one,"
                " and enter it as the environment's “Python”."
            )
        return {}
    name = os.path.basename(python)
    is_of_apt = PYTHON_NAME.fullmatch(name) and python in (name, f"/usr/bin/{name}")
    if is_of_apt and (not has_lists() or name in policy_of([name])):
        return {name: "the site runs on it"}
    raise Problem(
        f"There is no {python}, and apt has no package for it; python3 is Python"
        f" {sys.version_info[0]}.{sys.version_info[1]}. Install it, or choose another as the"
        " environment's “Python”."
    )


# What is there


def is_interrupted() -> bool:
    updates = "/var/lib/dpkg/updates"
    left = any(name.isdigit() for name in os.listdir(updates)) if os.path.isdir(updates) else False
    return left or bool(ask("dpkg", "--audit").stdout.strip())


def installed() -> set[str]:
    shown = ask("dpkg-query", "-W", "-f", "${Package} ${db:Status-Status}\n").stdout
    return {line.split()[0] for line in shown.splitlines() if line.endswith(" installed")}


def has_lists() -> bool:
    """Whether apt has read its sources at all."""
    with os.scandir(LISTS) as entries:
        return any("_Packages" in entry.name for entry in entries)


def candidates(facts: Facts) -> set[str]:
    """Return those of all names that apt can install."""
    packages = [*facts["packages"], *facts["needs"]["packages"]]
    return policy_of([name for package in packages for name in package["names"]])


def policy_of(names: Sequence[str]) -> set[str]:
    if not names:
        return set()
    shown = ask("apt-cache", *NO_CACHES, "policy", "--", *names).stdout
    found, name = set(), ""
    for line in shown.splitlines():
        if not line.startswith(" "):
            name = line.rstrip(":")
        elif line.strip().startswith("Candidate:") and "(none)" not in line:
            found.add(name)
    return found


# Installing


def install(names: Sequence[str]) -> None:
    """Install packages, from sources that were read just now. Raises Problem."""
    updated = ask("apt-get", "-q", *WAITING, "update")
    words = ["apt-get", "-q", "-y", *WAITING, *INSTALL, "install", "--", *names]
    if stream(words, must=False):
        said = last_lines(updated.stderr)
        more = f" Its sources could not be read:\n{said}" if said else ""
        raise Problem(
            f"apt could not install {' '.join(names)}: the lines above say why.{more}\nNothing else"
            " was changed. Correct that, and provision it again."
        )


def install_quietly(names: Sequence[str], needs: Facts) -> None:
    """Install packages whose services must not start by it: their units are disabled, too.

    What would make them listen later is taken out of their files. Units and files that were there
    before are somebody's: they stay as they are.
    """
    work = {**servers.silencing(needs), "units": new_units(needs)}
    with policy(work):
        install(names)


def new_units(needs: Facts) -> list[str]:
    """Return the units to disable that the system does not have yet."""
    return [unit for unit in needs["disable"] if ask("systemctl", "cat", unit).returncode]


@contextmanager
def policy(work: Facts) -> Iterator[None]:
    """Have the system start no service meanwhile: see invoke-rc.d(8).

    What is to be done then stands in it, so that the next run can finish what was interrupted.
    """
    if os.path.lexists(POLICY):  # somebody's own, which may say the same or the contrary
        with open(POLICY, "rb") as file:
            own = file.read()
    else:
        own = b""
    with open(f"{POLICY}.new", "w") as file:
        file.write(f"{POLICY_HEADER} {json.dumps(work)}\nexit 101\n")
    os.chmod(f"{POLICY}.new", 0o755)  # noqa: S103  it is a program
    if own:
        os.rename(POLICY, f"{POLICY}.own")
    os.rename(f"{POLICY}.new", POLICY)
    try:
        yield
    finally:
        end_policy(work)


def end_policy(work: Facts) -> None:
    """Disable what was installed, even if that failed half-way, and take its listening away."""
    servers.silence(work)
    for unit in work["units"]:
        if ask("systemctl", "cat", unit).returncode == 0:
            do("systemctl", "disable", "--now", "--quiet", unit)
    os.remove(POLICY)
    if os.path.lexists(f"{POLICY}.own"):
        os.rename(f"{POLICY}.own", POLICY)


def work_in_policy() -> Facts | None:
    """Return what a run was about to do when it was interrupted; None: there was none."""
    try:
        with open(POLICY, encoding="utf-8", errors="replace") as file:
            text = file.read()
    except OSError:
        return None
    if not text.startswith(POLICY_HEADER):
        return None
    found: Facts = json.loads(text[len(POLICY_HEADER) :].splitlines()[0])
    return found


def stream(words: Sequence[str], must: bool = True) -> int:
    """Run a program whose output goes into the log; return its exit code. Raises Problem."""
    sys.stdout.flush()
    code = subprocess.call(words, stdin=subprocess.DEVNULL, env={**os.environ, **NETWORKING})
    if code and must:
        raise Problem(f"`{' '.join(words)}` failed: the lines above say why.")
    return code
