"""The git repository of the guestbook, as a team would have it."""

import shutil
import subprocess
from pathlib import Path

SAMPLE_SITE = Path(__file__).parent.parent / "sample_site"
GREETING = '''\
"""Adds a greeting to every response."""

import greetings


class Greeting:
    def __init__(self, get_response):
        self.get_response = get_response

    def __call__(self, request):
        response = self.get_response(request)
        response["X-Greeting"] = greetings.greet()
        return response
'''
_IDENTITY = ("-c", "user.name=Guestbook", "-c", "user.email=guestbook@localhost")


def make_repository(folder: Path) -> bool:
    """Create the repository with the sample site; return False if it exists already."""
    if (folder / ".git").exists():
        return False
    # Without .git it is the rest of an interrupted start.
    shutil.rmtree(folder, ignore_errors=True)
    leave_out = shutil.ignore_patterns("__pycache__", "collected", "*.sqlite3*")
    shutil.copytree(SAMPLE_SITE, folder, ignore=leave_out)
    _git(folder, "init", "--quiet", "--initial-branch=main")
    _git(folder, "add", "--all")
    _git(folder, *_IDENTITY, "commit", "--quiet", "--message=A guestbook")
    return True


def add_greeting(folder: Path, version: str, digest: str) -> None:
    """Commit a middleware that adds a greeting to every response, from a package it requires."""
    (folder / "config/greeting.py").write_text(GREETING)
    with (folder / "config/settings.py").open("a") as settings:
        settings.write('MIDDLEWARE.append("config.greeting.Greeting")\n')
    with (folder / "requirements.txt").open("a") as requirements:
        requirements.write(f"greetings=={version} \\\n    --hash={digest}\n")
    _git(folder, "add", "--all")
    _git(folder, *_IDENTITY, "commit", "--quiet", "--message=Greet every visitor")


def newest_commit(folder: Path) -> str:
    return _git(folder, "rev-parse", "main").strip()


def _git(folder: Path, *arguments: str) -> str:
    command = ["git", "-C", str(folder), *arguments]
    return subprocess.run(command, check=True, capture_output=True, text=True).stdout
