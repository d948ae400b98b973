"""A real git repository on disk."""

import os
import subprocess
from dataclasses import dataclass
from pathlib import Path

import pytest

from deploy_manager.git.mirror import Mirror

_IDENTITY = {
    "GIT_AUTHOR_NAME": "Shop",
    "GIT_AUTHOR_EMAIL": "shop@example.org",
    "GIT_COMMITTER_NAME": "Shop",
    "GIT_COMMITTER_EMAIL": "shop@example.org",
    "GIT_CONFIG_GLOBAL": "/dev/null",
}


@dataclass(frozen=True)
class Repository:
    """A repository with a work tree, that tests commit to."""

    path: Path

    @classmethod
    def make(cls, path: Path) -> "Repository":
        """Make one whose branch `main` has one commit, with one file `a.txt`."""
        made = cls(path)
        path.mkdir()
        made.git("init", "--quiet", "--initial-branch=main")
        made.commit("First", {"a.txt": "1"})
        return made

    @property
    def head(self) -> str:
        return self.git("rev-parse", "HEAD")

    def commit(self, message: str, files: dict[str, str], **variables: str) -> str:
        """Write files, commit everything, and return the commit's hash."""
        for name, text in files.items():
            target = self.path / name
            target.parent.mkdir(parents=True, exist_ok=True)
            target.write_text(text)
        self.git("add", "--all")
        words = ("commit", "--quiet", "--allow-empty", "--allow-empty-message", "-m", message)
        self.git(*words, **variables)
        return self.head

    def git(self, *words: str, **variables: str) -> str:
        """Run git in the work tree and return what it prints."""
        done = subprocess.run(
            ["git", *words],
            cwd=self.path,
            env=os.environ | _IDENTITY | variables,
            capture_output=True,
            text=True,
            check=True,
        )
        return done.stdout.strip()


@pytest.fixture
def repository(tmp_path: Path) -> Repository:
    """A repository `shop` with one commit."""
    return Repository.make(tmp_path / "shop")


@pytest.fixture
def mirror(repository: Repository, tmp_path: Path) -> Mirror:
    """Its mirror clone, fresh."""
    made = Mirror(str(repository.path), tmp_path / "cache", timeout=30)
    made.update()
    return made
