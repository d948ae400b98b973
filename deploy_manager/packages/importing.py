"""What the import page was sent: a text, a file, or the repository's own files at a commit."""

import posixpath
import re

from deploy_manager.models import Environment
from deploy_manager.packages.repository import files_of_commit
from deploy_manager.requirements.any_file import read_asking
from deploy_manager.requirements.asked import Asking
from deploy_manager.requirements.reading import as_bytes

NAME = "requirements.txt"
"""Of a text that was pasted."""


def read_sent(
    environment: Environment, text: str, name: str = "", commit: str = ""
) -> tuple[str, Asking]:
    """Return the name of the file, and what it asks for; with a commit, the repository's.

    Raises CodeError where the commit can't be had.
    """
    if commit:
        project = environment.project
        files = files_of_commit(environment, commit)
        path = project.requirements_file
        return path, read_asking(path, files, folder=project.folder)
    name = name or NAME
    return name, read_asking(name, {posixpath.normpath(name): _bytes(name, text)}.get)


def is_for_a_worker(name: str) -> bool:
    """Whether only uv can read a file of this name, so that no web process does."""
    return posixpath.basename(name) == "uv.lock"


def _bytes(name: str, text: str) -> bytes:
    """A file of a text; TOML has no mark at its start."""
    return text.encode(errors="replace") if re.search(r"\.(toml|lock)\Z", name) else as_bytes(text)
