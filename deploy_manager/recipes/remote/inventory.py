"""List the packages of a virtual environment. Read by its own Python, 3.8 or later, from stdin.

Prints JSON in one line: implementation, python, platform, libc, the values of markers, and packages
as pairs of a normalised name and a version. Writes nothing.
"""

from __future__ import annotations

import json
import os
import platform
import re
import sys
import sysconfig
from importlib.metadata import PathDistribution
from pathlib import Path

MOST_PACKAGES = 5000
KINDS = (".dist-info", ".egg-info")


def normalised(name: str) -> str:
    """As https://packaging.python.org/en/latest/specifications/name-normalization/."""
    return re.sub(r"[-_.]+", "-", name).lower()


def folders() -> list[str]:
    """The environment's own folders, without the system's packages, which are not pinned."""
    paths = sysconfig.get_paths()
    return list(dict.fromkeys(paths[kind] for kind in ("purelib", "platlib")))


def packages() -> dict[str, str]:
    found: dict[str, str] = {}
    for folder in filter(os.path.isdir, folders()):
        for entry in sorted(os.listdir(folder)):
            # pip renames a package to ~… before it removes it.
            if entry.endswith(KINDS) and not entry.startswith("~"):
                name, version = identify(os.path.join(folder, entry))
                # The first one counts, as for an import.
                found.setdefault(name, version)
    return found


def identify(path: str) -> tuple[str, str]:
    """Return name and version from the metadata, or else from the folder's name.

    A version that was made of a commit has that in its local part: it may be one of many.
    """
    metadata = PathDistribution(Path(path)).metadata
    stem, _, _ = os.path.basename(path).rpartition(".")
    name, _, version = stem.partition("-")
    version = (metadata["Version"] or version).strip()
    commit = commit_of(path)
    if commit:
        version += f"{'.' if '+' in version else '+'}g{commit}"
    return normalised(metadata["Name"] or name), version


def commit_of(path: str) -> str:
    """As https://packaging.python.org/en/latest/specifications/direct-url/; blank: of none."""
    try:
        with open(os.path.join(path, "direct_url.json"), encoding="utf-8") as file:
            commit = json.load(file)["vcs_info"]["commit_id"]
    except (OSError, ValueError, KeyError, TypeError):
        return ""
    return commit if re.fullmatch("[0-9a-f]{40}", str(commit)) else ""


def markers() -> dict[str, str]:
    """As https://packaging.python.org/en/latest/specifications/dependency-specifiers/."""
    version = sys.implementation.version
    kind = "" if version.releaselevel == "final" else f"{version.releaselevel[0]}{version.serial}"
    return {
        "implementation_name": sys.implementation.name,
        "implementation_version": f"{version.major}.{version.minor}.{version.micro}{kind}",
        "os_name": os.name,
        "platform_machine": platform.machine(),
        "platform_python_implementation": platform.python_implementation(),
        "platform_release": platform.release(),
        "platform_system": platform.system(),
        "platform_version": platform.version(),
        "python_full_version": platform.python_version(),
        "python_version": ".".join(platform.python_version_tuple()[:2]),
        "sys_platform": sys.platform,
    }


def main() -> None:
    found = packages()
    if len(found) > MOST_PACKAGES:
        sys.exit(f"{len(found)} packages are installed: more than {MOST_PACKAGES} are not listed.")
    facts = {
        "implementation": platform.python_implementation(),
        "python": platform.python_version(),
        "platform": sysconfig.get_platform(),
        "libc": " ".join(filter(None, platform.libc_ver())),
        "markers": markers(),
        "packages": sorted(found.items()),
    }
    print(json.dumps(facts))


main()
