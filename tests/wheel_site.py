"""Sites whose servers reach no package index: real sshd, packages of the tests' own index."""

import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import replace
from pathlib import Path
from threading import Event

import pytest

from deploy_manager.hosts.address import Address
from deploy_manager.hosts.opening import open_host
from deploy_manager.recipes import Builder, Site, get_recipe
from deploy_manager.requirements.completing import complete_pins
from deploy_manager.requirements.pins import lock_digest, lock_text
from tests.parts.hosts import Log
from tests.parts.index import Index
from tests.parts.sshd import Sshd, running_sshd

NO_INDEX = "http://127.0.0.1:9/simple/"
"""Where nothing listens: what a server that asks an index all the same would ask."""


class WheelServer:
    """A server that has no index, with a site to install on it."""

    def __init__(self, address: Address, site: Site) -> None:
        self.site = site
        self.log = Log()
        self.host = open_host(address, self.log, Event())

    def install(self, **changes: object) -> str:
        """Make and fill an environment for a site's pins; return what was printed."""
        start = len(self.log.pieces)
        site = replace(self.site, **changes)  # type: ignore[arg-type]
        self.host.run(["mkdir", "-p", site.release_path])
        for name in ("make_virtualenv", "install_requirements"):
            get_recipe(name).function(self.host, site)
        return b"".join(data for _stream, data in self.log.pieces[start:]).decode()

    def says(self, line: str) -> str:
        """What a line of Python prints in the environment."""
        return self.host.run([self.site.python_path, "-c", line]).stdout.strip()

    def files(self, folder: str) -> list[str]:
        look = ["find", f"{self.site.deploy_path}/{folder}", "-name", "*.whl", "-printf", "%f\n"]
        return sorted(self.host.run(look).stdout.split())


MakeServer = Callable[..., WheelServer]


def lock_of(index: Index, *wanted: str) -> dict[str, str]:
    """Return the fields of a site for a lock of these packages."""
    text = lock_text(complete_pins("\n".join(wanted), index_url=index.url_with_credentials))
    return {"lock": text, "lock_digest": lock_digest(text)}


def built_by(address: Address, python: str = "/usr/bin/python3") -> Builder:
    """A builder as a deployment makes it."""

    @contextmanager
    def open_it() -> Iterator[object]:
        host = open_host(address, Log(), Event())
        try:
            yield host
        finally:
            host.close()

    return Builder(address.name, python, open_it)  # type: ignore[arg-type]


@pytest.fixture(scope="module")
def offline_sshd(ssh_key: Path) -> Iterator[Sshd]:
    """A server whose pip and uv know no index that answers, and nothing beside."""
    with pytest.MonkeyPatch.context() as patch:
        for name in ("PIP_FIND_LINKS", "UV_FIND_LINKS", "UV_DEFAULT_INDEX", "UV_INDEX_URL"):
            patch.delenv(name, raising=False)
        patch.setenv("PIP_INDEX_URL", NO_INDEX)
        patch.setenv("UV_DEFAULT_INDEX", NO_INDEX)
        with running_sshd(ssh_key) as server:
            yield server


@pytest.fixture
def make_server(
    offline_sshd: Sshd, ssh_settings: object, tmp_path: Path, tools_cache: Path
) -> Iterator[MakeServer]:
    """A maker of servers that share a worker's cache, each with a deploy path of its own."""
    made: list[WheelServer] = []

    def make(index: Index, **changes: object) -> WheelServer:
        name = f"web{len(made) + 1}"
        site = Site(
            environment="shop/production",
            deploy_path=str(offline_sshd.new_folder()),
            release="r1",
            wheels="shipped",
            installer="uv",
            index_url=index.url_with_credentials,
            cache=tools_cache,
            wheels_cache=tmp_path / "wheels",
        )
        server = WheelServer(offline_sshd.address_for(name), replace(site, **changes))  # type: ignore[arg-type]
        made.append(server)
        return server

    yield make
    for server in made:
        with suppress(OSError):
            shutil.rmtree(server.site.deploy_path)
        server.host.close()
