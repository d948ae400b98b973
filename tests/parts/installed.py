"""Servers behind one real sshd, each with a release whose virtual environment is real and small."""

import io
import os
import shutil
import subprocess
import zipfile
from dataclasses import dataclass, field
from pathlib import Path

import pytest
from pytest_django import Settings

from deploy_manager.models import Environment, Placement, Server
from tests.inventory import make_inventory
from tests.parts.sshd import Sshd, StartSshd
from tests.parts.wheels import Package, wheel


@dataclass(frozen=True)
class Machine:
    """A server, and what stands in its deploy path."""

    placement: Placement
    folder: Path

    @property
    def packages(self) -> Path:
        """The folder that packages are installed to."""
        return next((self.folder / "venvs" / "v1" / "lib").glob("python*/site-packages"))

    def install(self, name: str, version: str) -> None:
        """Install a wheel by hand."""
        _name, content = wheel(Package(name, version))
        zipfile.ZipFile(io.BytesIO(content)).extractall(self.packages)

    def remove(self, name: str) -> None:
        """Remove a package by hand."""
        for path in self.packages.glob(f"{name}*"):
            shutil.rmtree(path)

    @property
    def installed(self) -> dict[str, str]:
        """What the rows say."""
        return dict(self.placement.installed.values_list("name", "version"))

    def refresh(self) -> Placement:
        self.placement.refresh_from_db()
        return self.placement


@dataclass
class Site:
    """`shop/production` on servers of one sshd."""

    environment: Environment
    sshd: Sshd
    machines: dict[str, Machine] = field(default_factory=dict)

    def add(self, name: str, **packages: str) -> Machine:
        """Add a server with a release, in which these packages are installed."""
        machine = self.add_empty(name)
        make_release(machine.folder)
        for package, version in packages.items():
            machine.install(package, version)
        return machine

    def add_empty(self, name: str) -> Machine:
        """Add a server to which nothing was deployed yet."""
        folder = self.sshd.home / name
        folder.mkdir()
        server = Server.objects.create(
            name=name,
            address=self.sshd.address,
            port=self.sshd.port,
            user=self.sshd.user,
            host_key=self.sshd.host_key,
        )
        placement = Placement.objects.create(
            environment=self.environment,
            server=server,
            order=len(self.machines) + 1,
            own_deploy_path=str(folder),
        )
        self.machines[name] = Machine(placement, folder)
        return self.machines[name]


def make_release(folder: Path) -> None:
    """Let `current` be a release with an environment that has nothing installed."""
    release = folder / "releases" / "r1"
    release.mkdir(parents=True)
    venv = folder / "venvs" / "v1"
    subprocess.run([_system_python(), "-m", "venv", "--without-pip", venv], check=True)
    (release / "venv").symlink_to("../../venvs/v1")
    (folder / "current").symlink_to("releases/r1")


def _system_python() -> str:
    """Every account may run it, which that of the tests itself may be not for."""
    return shutil.which("python3", path=os.defpath) or pytest.fail(
        "python3 is missing in /usr/bin: apt-get install python3"
    )


@pytest.fixture
def site(
    start_sshd: StartSshd, ssh_settings: Settings, tmp_path: Path, transactional_db: None
) -> Site:
    """`shop/production`, no server yet."""
    return Site(make_inventory(tmp_path).environment, start_sshd())
