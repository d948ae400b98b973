"""Collect static files. Runs in the project, by its `manage.py shell`.

Reads JSON: releases, the folder of all releases, and release, the folder of this one. Prints what
was done, and on the last line as JSON: root (STATIC_ROOT), and has_index (whether names are looked
up in an index that is kept there).

To hash, compress and index files takes longer than to load the project. If a release before has
collected exactly these files, by the same settings and the same Django, what it collected is
copied. That is known only of backends of Django and WhiteNoise: one of the project's own may do
anything.
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import sys
from collections.abc import Iterator, Sequence
from contextlib import suppress
from importlib import metadata
from typing import Any

from django.apps import apps
from django.conf import settings
from django.contrib.staticfiles.finders import get_finders
from django.contrib.staticfiles.storage import (
    ManifestFilesMixin,
    StaticFilesStorage,
    staticfiles_storage,
)
from django.core.management import call_command, get_commands

COLLECTED = ".collected.json"
"""In a release: what was collected there, from what."""

KNOWN_BACKENDS = ("builtins", "django.", "whitenoise.")
DECISIVE_PACKAGES = ("django", "whitenoise", "brotli", "brotlicffi")
"""What these backends are made of. Their versions are as pinned: that was compared."""

DECISIVE = ("DEBUG", "FILE_UPLOAD_", "FORCE_SCRIPT_NAME", "STATIC", "WHITENOISE_")
"""Beginnings of the settings that these backends read, beside their own options."""


def inputs_of(given: dict[str, Any], release: str, root: str) -> str:
    """Return a digest of all that decides what is collected; blank if that can't be known."""
    own_command = get_commands().get("collectstatic") != "django.contrib.staticfiles"
    kinds = staticfiles_storage.__class__.__mro__
    known = all(kind.__module__.startswith(KNOWN_BACKENDS) for kind in kinds)
    if own_command or not known or not isinstance(staticfiles_storage, StaticFilesStorage):
        return ""
    index = getattr(staticfiles_storage, "manifest_storage", None)
    if index not in (None, staticfiles_storage):
        return ""  # it is kept elsewhere, and would not be copied
    # In a folder of its own only: else what others put there would count as collected.
    is_own = os.path.realpath(staticfiles_storage.location) == root and is_inside(root, release)
    if not is_own or (os.path.isdir(root) and os.listdir(root)):
        return ""
    decisive = [name for name in dir(settings) if name.startswith(DECISIVE)]
    facts = {
        "packages": [sys.version, *versions_of(DECISIVE_PACKAGES)],
        "settings": {name: repr(getattr(settings, name)) for name in decisive},
        "backend": repr(getattr(settings, "STORAGES", {}).get("staticfiles")),
        "files": list(found_files()),
    }
    text = json.dumps(facts).replace(release, "RELEASE").replace(given["release"], "RELEASE")
    return hashlib.sha256(text.encode(errors="surrogateescape")).hexdigest()


def versions_of(packages: Sequence[str]) -> Iterator[str]:
    for name in packages:
        with suppress(metadata.PackageNotFoundError):
            yield f"{name} {metadata.version(name)}"


def found_files() -> Iterator[tuple[str, str]]:
    """Yield the files that collectstatic finds, as it does, with the hash of their content."""
    ignored = apps.get_app_config("staticfiles").ignore_patterns  # type: ignore[attr-defined]
    for finder in get_finders():
        for path, storage in finder.list(ignored):
            name = os.path.join(getattr(storage, "prefix", None) or "", path)
            with storage.open(path) as file:
                yield name, hashlib.sha256(file.read()).hexdigest()


def outputs_of(root: str) -> str:
    """Return a digest of what is in a folder: names, sizes and times, which a copy keeps."""
    seen = []
    for path, _folders, names in os.walk(root):
        for name in names:
            whole = os.path.join(path, name)
            facts = os.lstat(whole)
            seen.append((os.path.relpath(whole, root), facts.st_size, facts.st_mtime_ns))
    text = json.dumps(sorted(seen))
    return hashlib.sha256(text.encode(errors="surrogateescape")).hexdigest()


def copy_from_before(releases: str, inputs: str, root: str) -> bool:
    """Whether a release that had the same has what it had collected, and it was copied."""
    for name in sorted(os.listdir(releases), reverse=True):
        known = read(os.path.join(releases, name))
        if known.get("inputs") != inputs:
            continue
        source = os.path.join(releases, name, known["root"])
        beside = f"{root}.part"
        with suppress(OSError, shutil.Error):
            if outputs_of(source) != known["outputs"]:
                continue
            shutil.rmtree(beside, ignore_errors=True)
            # Not linked: what writes into a file of one release must not change another one.
            shutil.copytree(source, beside, symlinks=True)
            if outputs_of(beside) == known["outputs"]:
                os.replace(beside, root)
                print(
                    f"The same static files and settings as {name}: what it collected was copied."
                )
                return True
        shutil.rmtree(beside, ignore_errors=True)
    return False


def read(release: str) -> dict[str, Any]:
    with suppress(OSError, ValueError), open(os.path.join(release, COLLECTED)) as file:
        return dict(json.load(file))
    return {}


def note(release: str, inputs: str, root: str) -> None:
    """Write down what was collected; without it the next release collects for itself."""
    known = {"inputs": inputs, "root": os.path.relpath(root, release), "outputs": outputs_of(root)}
    beside = os.path.join(release, f"{COLLECTED}.part")
    with open(beside, "w") as file:
        json.dump(known, file)
    os.replace(beside, os.path.join(release, COLLECTED))


def is_inside(path: str, folder: str) -> bool:
    return path.startswith(folder + os.sep)


def collect(given: dict[str, Any]) -> None:
    release = os.path.realpath(given["release"])
    root = os.path.realpath(settings.STATIC_ROOT) if settings.STATIC_ROOT else ""
    inputs = ""
    with suppress(Exception):  # whatever is wrong is for the command to say
        inputs = inputs_of(given, release, root)
    if not (inputs and copy_from_before(given["releases"], inputs, root)):
        with suppress(FileNotFoundError):
            os.unlink(os.path.join(release, COLLECTED))
        call_command("collectstatic", interactive=False, skip_checks=False)
    with suppress(OSError):
        if inputs:
            note(release, inputs, root)


collect(json.load(sys.stdin))

facts = {
    "root": os.path.abspath(settings.STATIC_ROOT) if settings.STATIC_ROOT else "",
    "has_index": isinstance(staticfiles_storage, ManifestFilesMixin),
}
print()
print(json.dumps(facts))
