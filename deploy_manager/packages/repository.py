"""Files of a project's repository at a commit, from the worker's mirror."""

from functools import cache

from deploy_manager.conf import get_settings
from deploy_manager.credentials import git_login
from deploy_manager.git.mirror import Mirror
from deploy_manager.models import Environment, Project
from deploy_manager.requirements.line_kinds import Files
from deploy_manager.row_checks import check_row


def mirror_of(project: Project) -> Mirror:
    """Return the worker's mirror of a project's repository. Raises InvalidRow.

    It can be read everywhere; only who has the key for secrets can fetch by a credential.
    """
    check_row(project)
    settings = get_settings()
    folder = settings.CACHE / "git"
    return Mirror(project.repository, folder, settings.GIT_TIMEOUT, git_login(project))


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
