"""The guestbook's own git repository, as a team would have it."""

import shutil
import subprocess
from pathlib import Path

SAMPLE_SITE = Path(__file__).parent.parent / "sample_site"
_IDENTITY = ("-c", "user.name=Guestbook", "-c", "user.email=guestbook@localhost")


def make_repository(folder: Path) -> None:
    """Make the repository with the sample site in it, where there is none yet."""
    if (folder / ".git").exists():
        return
    shutil.rmtree(folder, ignore_errors=True)
    leave_out = shutil.ignore_patterns("__pycache__", "collected", "*.sqlite3*")
    shutil.copytree(SAMPLE_SITE, folder, ignore=leave_out)
    _git(folder, "init", "--quiet", "--initial-branch=main")
    _git(folder, "add", "--all")
    _git(folder, *_IDENTITY, "commit", "--quiet", "--message=A guestbook")


def newest_commit(folder: Path) -> str:
    return _git(folder, "rev-parse", "main").strip()


def _git(folder: Path, *arguments: str) -> str:
    command = ["git", "-C", str(folder), *arguments]
    return subprocess.run(command, check=True, capture_output=True, text=True).stdout
