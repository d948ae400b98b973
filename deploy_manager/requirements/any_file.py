"""Read any file that lists what a project needs, by the file's name."""

import posixpath
from collections.abc import Collection
from pathlib import Path

from packaging.pylock import is_valid_pylock_path

from deploy_manager.requirements.asked import Asking
from deploy_manager.requirements.line_kinds import Files
from deploy_manager.requirements.lock_files import read_pylock, read_uv_lock
from deploy_manager.requirements.project_files import read_project
from deploy_manager.requirements.text_files import read_text_files


def read_asking(
    path: str,
    files: Files,
    *,
    extras: Collection[str] = (),
    groups: Collection[str] = (),
    folder: str = "",
) -> Asking:
    """Read a requirements file, `pyproject.toml`, `pylock.toml` or `uv.lock`.

    `files` returns each file by its path relative to the top, or None; nothing else is opened.
    `extras` and `groups` select those of a `pyproject.toml`. In a `uv.lock` with several members,
    the one that contains the site's `folder` is read. Errors are returned as problems.
    """
    path = posixpath.normpath(path)
    name = posixpath.basename(path)
    if name == "pyproject.toml":
        return read_project(path, files, extras, groups)
    if name == "uv.lock":
        return read_uv_lock(path, files, folder)
    if is_valid_pylock_path(Path(name)):
        return read_pylock(path, files)
    return read_text_files(path, files)


def folder_files(folder: Path) -> Files:
    """Return a reader of the files in a folder of this machine, and of none outside it."""
    top = folder.resolve()

    def read(path: str) -> bytes | None:
        try:
            file = (top / path).resolve()
            # Of the resolved path: a link in the folder may lead out of it.
            return file.read_bytes() if file.is_relative_to(top) else None
        except (OSError, ValueError, RuntimeError):  # no such file, a null byte, a loop of links
            return None

    return read
