"""Read what the import page was sent: a text, a file, or the repository's files at a commit."""

import posixpath
import re

from deploy_manager.models import Environment
from deploy_manager.packages.repository import files_of_commit
from deploy_manager.requirements.any_file import read_asking
from deploy_manager.requirements.asked import Asking
from deploy_manager.requirements.reading import as_bytes

NAME = "requirements.txt"
"""The name of a pasted text."""


def read_sent(
    environment: Environment, text: str, name: str = "", commit: str = ""
) -> tuple[str, Asking]:
    """Return the file's name and its content; given a commit, those of the repository's file.

    Raises CodeError if the commit can't be read.
    """
    if commit:
        project = environment.project
        files = files_of_commit(environment, commit)
        path = project.requirements_file
        return path, read_asking(path, files, folder=project.folder)
    name = name or NAME
    is_toml = re.search(r"\.(toml|lock)\Z", name)
    # A byte order mark says UTF-8 whatever a comment in the text claims, but TOML allows none.
    data = text.encode(errors="replace") if is_toml else as_bytes(text)
    return name, read_asking(name, {posixpath.normpath(name): data}.get)


def is_for_a_worker(name: str) -> bool:
    """Whether only uv can read a file of this name, which no web process may run."""
    return posixpath.basename(name) == "uv.lock"
