"""A project's repository: its mirror, and files of it at a commit."""

import os
from functools import cache
from pathlib import Path

from deploy_manager.conf import get_settings
from deploy_manager.credentials import git_login
from deploy_manager.git.access import protocols_for
from deploy_manager.git.mirror import Mirror
from deploy_manager.models import Environment, Project
from deploy_manager.packages.fetching import WorkersMirror, fetch_and_note
from deploy_manager.requirements.line_kinds import Files
from deploy_manager.row_checks import check_row


def mirror_of(project: Project) -> Mirror:
    """Return the mirror of a project's repository. Raises InvalidRow.

    Where there is no key to log in with, a worker updates it.
    """
    settings = get_settings()
    if settings.SECRETS_KEY_FILE or not settings.SECRETS_PUBLIC_KEY:
        return own_mirror_of(project)
    check_row(project)
    if _needs_no_login(project) and _may_write(settings.CACHE):
        return own_mirror_of(project)
    mirror = WorkersMirror(project.repository, settings.CACHE / "git", settings.GIT_TIMEOUT)
    mirror.project = project
    return mirror


def _needs_no_login(project: Project) -> bool:
    # By ssh it is an account that logs in, if no credential does: that of the worker.
    return not git_login(project) and protocols_for(project.repository) != "ssh"


def _may_write(cache: Path) -> bool:
    """Whether a cache is this account's own; one that is not there yet will be."""
    return not cache.exists() or os.access(cache, os.W_OK)


def own_mirror_of(project: Project) -> Mirror:
    """Return the mirror as one that this process updates. Raises InvalidRow."""
    check_row(project)
    settings = get_settings()
    folder = settings.CACHE / "git"
    return Mirror(project.repository, folder, settings.GIT_TIMEOUT, git_login(project))


def fetch_for_others(project_id: int) -> None:
    """Fetch a project's repository for processes that have no key to log in with."""
    if project := Project.objects.filter(pk=project_id).first():
        fetch_and_note(own_mirror_of(project))


def find_files(environment: Environment) -> tuple[str, Files]:
    """Return the present commit of an environment's branch or tag, and a reader of its files.

    Raises CodeError if there is none, or if the repository can't be reached.
    """
    mirror = mirror_of(environment.project)
    mirror.update()
    commit = mirror.resolve(environment.ref).hash
    return commit, committed_files(mirror, commit)


def files_of_commit(environment: Environment, commit: str) -> Files:
    """Return a reader of a commit's files. Raises CodeError if it is not in the mirror."""
    mirror = mirror_of(environment.project)
    return committed_files(mirror, mirror.resolve(commit).hash)


def committed_files(mirror: Mirror, commit: str) -> Files:
    """Return a reader of a commit's files by their path in the repository."""

    # Each look starts git, and several files may include the same one.
    @cache
    def read(path: str) -> bytes | None:
        return mirror.read_bytes(commit, path)

    return read
