"""Check a project, and where its data is. Runs in the project, by its `manage.py shell`.

Reads JSON: deploy_path, release (its folder), migrates, databases (aliases that are migrated;
empty: the default one), lock_timeout. Runs Django's system checks; then asks the settings. Prints
what may be lost without harm, like logs, a line each. Exits with 1 and the reason on stderr if data
would be removed with the release, or if it is not clear which databases to migrate. It opens no
database and writes nothing.
"""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Iterator
from typing import Any
from urllib.parse import parse_qs, unquote, urlsplit

from django.apps import apps
from django.conf import settings
from django.core.management import call_command
from django.db import router
from django.utils.module_loading import import_string

TRACES = ("FILE_UPLOAD_TEMP_DIR", "WHOOSH_INDEX", "CELERY_BEAT_SCHEDULE_FILENAME")
TRACES += ("CELERYBEAT_SCHEDULE_FILENAME",)


class Place:
    """A file or folder that a setting names, and the site writes to."""

    def __init__(self, setting: str, path: Any) -> None:
        """Blank or no path: there is no such file."""
        self.setting = setting
        self.path = os.path.abspath(os.fspath(path)) if path else ""


def databases() -> Iterator[Place]:
    """The files of SQLite databases that the site can write to."""
    for alias, database in settings.DATABASES.items():
        if not any(word in database.get("ENGINE", "") for word in ("sqlite", "spatialite")):
            continue
        name = os.fspath(database.get("NAME") or "")
        if name.startswith("file:"):
            parts = urlsplit(name)
            options = parse_qs(parts.query)
            # Opened for reading only, it is a part of the code.
            if "ro" in options.get("mode", ()) or "1" in options.get("immutable", ()):
                continue
            name = ":memory:" if "memory" in options.get("mode", ()) else unquote(parts.path)
        yield Place(f"DATABASES[{alias!r}]", "" if ":memory:" in name else name)


def uploads() -> Iterator[Place]:
    """Where the site's storages keep files; without MEDIA_ROOT they keep none."""
    from django.core.files.storage import FileSystemStorage

    default = {"BACKEND": getattr(settings, "DEFAULT_FILE_STORAGE", "")}
    for alias, storage in getattr(settings, "STORAGES", {"default": default}).items():
        kind = import_string(storage["BACKEND"])
        is_here = isinstance(kind, type) and issubclass(kind, FileSystemStorage)
        if alias == "staticfiles" or not is_here:
            continue
        location = storage.get("OPTIONS", {}).get("location")
        setting = f"STORAGES[{alias!r}]" if location else "MEDIA_ROOT"
        yield Place(setting, location or settings.MEDIA_ROOT)


def traces() -> Iterator[Place]:
    """What can be made again, or is of no use to a later release: said, not refused."""
    for alias, cache in settings.CACHES.items():
        if "filebased" in cache.get("BACKEND", "").lower():
            yield Place(f"CACHES[{alias!r}]", cache.get("LOCATION"))
    for name, handler in (settings.LOGGING or {}).get("handlers", {}).items():
        yield Place(f"LOGGING, handler {name!r},", handler.get("filename"))
    for name, index in getattr(settings, "HAYSTACK_CONNECTIONS", {}).items():
        yield Place(f"HAYSTACK_CONNECTIONS[{name!r}]", index.get("PATH"))
    names = [*TRACES]
    if getattr(settings, "EMAIL_BACKEND", "").endswith("filebased.EmailBackend"):
        names.append("EMAIL_FILE_PATH")
    if settings.SESSION_ENGINE.endswith(".file"):
        names.append("SESSION_FILE_PATH")
    yield from (Place(name, getattr(settings, name, None)) for name in names)


def inside(place: Place, facts: dict[str, Any]) -> str:
    """Return a path relative to the release; blank if it is not removed with one.

    What goes through `current` is meant to be in whatever release serves.
    """
    path, release = place.path, os.path.realpath(facts["release"])
    if not path:
        return ""
    top = facts["deploy_path"]
    for current in (os.path.join(each, "current") for each in (top, os.path.realpath(top))):
        if path.startswith(current + os.sep):
            path = release + path[len(current) :]
    path = os.path.realpath(path)  # what is shared leads out of the release
    if path == release or path.startswith(release + os.sep):
        return os.path.relpath(path, release)
    removed = [os.path.realpath(os.path.join(top, name)) + os.sep for name in ("releases", "venvs")]
    return path if path.startswith(tuple(removed)) else ""


def refuse_what_is_lost(facts: dict[str, Any]) -> None:
    for place in databases():
        if os.path.isdir(place.path):
            sys.exit(
                f"{place.setting} is {os.path.realpath(place.path)}, which is a folder: remove it,"
                " and make an empty file of this name."
            )
    places = {place.setting: place for place in (*databases(), *uploads())}
    lost = {name: path for name, place in places.items() if (path := inside(place, facts))}
    if lost:
        files = {inside(place, facts) for place in databases()}
        shared = os.path.join(facts["deploy_path"], "shared")
        named = "\n".join(f"  {name}: {places[name].path}" for name in lost)
        sys.exit(
            "Data of the site would be in the release: the next one starts without it, and it is"
            f" removed with this one.\n{named}\n{remedy(sorted(set(lost.values())), files, shared)}"
        )


def remedy(paths: list[str], files: set[str], shared: str) -> str:
    if any(os.path.isabs(path) or path == "." for path in paths):
        return "Name a folder outside of the releases in these settings."
    quoted = ", ".join(json.dumps(path) for path in paths)
    own = [path for path in paths if path in files and not path.endswith((".sqlite", ".sqlite3"))]
    # What is shared under such a name becomes a folder, unless there is a file already.
    made = "".join(
        f"\nBefore that, make the file: install -D /dev/null {shared}/{path}" for path in own
    )
    return (
        f"Add {quoted} to the environment's “shared folders and files”, or name a path outside of"
        f" the release in these settings.{made}"
    )


def tell_of_debug() -> None:
    if settings.DEBUG:
        print(
            "DEBUG is on: visitors are shown tracebacks and settings. Name other settings, or"
            " switch it off by a variable of the environment."
        )


def tell_traces(facts: dict[str, Any]) -> None:
    for place in traces():
        if inside(place, facts):
            print(
                f"{place.setting} is {place.path}, inside the release: each release begins without"
                " it. If it is to stay, share it, or keep it outside of the code."
            )


def refuse_unclear_databases(facts: dict[str, Any]) -> None:
    """Exit unless each database that Django would migrate is known to be migrated, or not."""
    named = facts["databases"]
    unknown = [alias for alias in named if alias not in settings.DATABASES]
    if unknown:
        sys.exit(
            f"DATABASES has no {', '.join(map(repr, unknown))}, but"
            f" {', '.join(settings.DATABASES)}: correct the environment's “databases to migrate”."
        )
    others = [alias for alias in settings.DATABASES if alias not in (named or ["default"])]
    others = [alias for alias in others if takes_migrations(alias)]
    if not others:
        return
    if named:
        print(f"Not migrated, as the environment says: {', '.join(others)}.")
        return
    sys.exit(
        "There is more than one database that could be migrated: default,"
        f" {', '.join(others)}. Enter those that are to be migrated as the environment's “databases"
        ' to migrate”, like ["default"], or let a database router refuse migrations of the others.'
    )


def takes_migrations(alias: str) -> bool:
    """Whether any model may have its table there; a mirror gets them from another database."""
    if settings.DATABASES[alias].get("TEST", {}).get("MIRROR"):
        return False
    return any(router.allow_migrate_model(alias, model) for model in apps.get_models())


def tell_other_options() -> None:
    """Say where the lock timeout, which comes by PGOPTIONS, does not arrive."""
    for alias, database in settings.DATABASES.items():
        if "postgresql" in database.get("ENGINE", "") and "options" in database.get("OPTIONS", {}):
            print(
                f"DATABASES[{alias!r}] has OPTIONS of its own, with which PostgreSQL ignores the"
                " environment's lock timeout: add `-c lock_timeout=…` there."
            )


def main() -> None:
    facts = json.load(sys.stdin)
    # Here, not by a command of its own: to load the project takes longer than all the rest.
    call_command("check")
    refuse_what_is_lost(facts)
    if facts["migrates"]:
        refuse_unclear_databases(facts)
        if facts["lock_timeout"]:
            tell_other_options()
    tell_of_debug()
    tell_traces(facts)


main()
