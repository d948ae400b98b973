"""A site that was reloaded over SSH serves on when the connection has ended."""

import os
import shutil
import subprocess
from collections.abc import Iterator
from dataclasses import replace
from importlib.util import find_spec
from pathlib import Path

import pytest

from deploy_manager.recipes import HealthCheck
from deploy_manager.recipes.serving import reload
from deploy_manager.recipes.verifying import verify
from tests.parts.hosts import Opened
from tests.parts.served import Served, packages_of


@pytest.fixture
def served_over_ssh(served: Served, over_ssh: Opened) -> Iterator[Served]:
    """A site of the account that sshd lets in."""
    path = over_ssh.folder / "site"
    path.mkdir()
    venv = _venv_with_copies(over_ssh.folder / "venv")
    over = replace(served, path=path, host=over_ssh.host, log=over_ssh.log, venv=venv)
    yield over
    over.end()


def _venv_with_copies(folder: Path) -> Path:
    """A virtual environment that needs nothing of ours: the account may not be let in there."""
    python = shutil.which("python3", path=os.defpath)
    assert python, "Install python3: the sites of the tests run by the system's own."
    subprocess.run([python, "-m", "venv", "--without-pip", folder], check=True)
    for name in ("gunicorn", "packaging"):
        spec = find_spec(name)
        assert spec is not None, f"Install {name}: pip install -e '.[test]'."
        shutil.copytree(Path(spec.origin or "").parent, packages_of(folder) / name)
    return folder


def _release(served: Served, name: str) -> None:
    served.release(name)
    owner = served.path.parent.owner()
    for path in (served.path, *served.path.rglob("*")):
        if not path.is_symlink():
            shutil.chown(path, owner)


def test_it_is_reloaded_verified_and_left_alone(served_over_ssh: Served) -> None:
    served = served_over_ssh
    health = HealthCheck(url=f"http://{served.reload.bind}/")
    for name in ("one", "two"):
        _release(served, name)
        site = replace(served.site, python="python3", health=health)

        reload(served.host, site)
        verify(served.host, site)

    served.host.close()

    assert served.ask().text == "two "
    assert Path(f"/proc/{served.master}").owner() == served.path.owner()
