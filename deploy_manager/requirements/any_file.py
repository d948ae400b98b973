"""Any file that says what a project needs, by the name it has."""

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

    `files` gives each file by its path relative to the top, or None: nothing else is opened.
    `extras` and `groups` are those of a `pyproject.toml`; of a `uv.lock` with several members it is
    the one that the site's `folder` lies in. Whatever is wrong is among the problems.
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
    """Return what gives the files of a folder of this machine, and none outside of it."""
    top = folder.resolve()

    def read(path: str) -> bytes | None:
        try:
            file = (top / path).resolve()
            return file.read_bytes() if file.is_relative_to(top) else None
        except (OSError, ValueError, RuntimeError):  # no such file, no such name, a loop of links
            return None

    return read
