"""What comes without a wheel is built once, on the builder; without one it is not built."""

import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from threading import Event

import pytest

from deploy_manager.deployments.orders import site_of
from deploy_manager.exceptions import WheelError
from deploy_manager.hosts.address import Address
from deploy_manager.models import Environment
from deploy_manager.recipes.building import build_wheel
from deploy_manager.wheels.python import ServerPython, own_python
from tests.inventory import Inventory
from tests.parts.index import Index
from tests.parts.matrices import few
from tests.parts.sshd import Sshd
from tests.parts.wheels import Package
from tests.wheel_site import MakeServer, built_by


@pytest.fixture
def index() -> Iterator[Index]:
    with Index() as index:
        index.add("paint", "2.0")
        yield index


@pytest.fixture
def counted(index: Index, offline_sshd: Sshd) -> Path:
    """A file with a line for each build of `brush`, an sdist."""
    log = offline_sshd.new_folder() / "builds"
    log.touch()
    log.chmod(0o666)
    index.add("brush", "1.0", as_sdist=True, modules=backend(log))
    return log


def backend(log: Path, fails: bool = False) -> dict[str, str]:
    """The files of an sdist that brings its own build backend, which needs nothing."""
    package = Package("brush", "1.0")
    end = 'raise SystemExit("no compiler here")' if fails else ""
    code = f"""
import time, zipfile
def build_wheel(folder, config_settings=None, metadata_directory=None):
    time.sleep(0.3)
    open({str(log)!r}, "a").write("built\\n")
    {end}
    name = "brush-1.0-py3-none-any.whl"
    with zipfile.ZipFile(folder + "/" + name, "w") as wheel:
        wheel.writestr("brush.py", "WIDTH = 3")
        wheel.writestr("brush-1.0.dist-info/METADATA", {package.metadata!r})
        wheel.writestr("brush-1.0.dist-info/WHEEL", "Wheel-Version: 1.0\\nGenerator: t\\n"
            "Root-Is-Purelib: true\\nTag: py3-none-any\\n")
        wheel.writestr("brush-1.0.dist-info/RECORD", "")
    return name
"""
    project = '[build-system]\nrequires = []\nbuild-backend = "backend"\nbackend-path = ["."]\n'
    return {"backend.py": code, "pyproject.toml": project}


def builds(counted: Path) -> int:
    return len(counted.read_text().splitlines())


@pytest.mark.parametrize("count", few(2, 4))
def test_an_sdist_is_built_once_for_all_servers(
    make_server: MakeServer, index: Index, counted: Path, offline_sshd: Sshd, count: int
) -> None:
    lock = {"lock": _lock(index), "lock_digest": "brush"}
    builder = built_by(offline_sshd.address_for("forge"), "python3")
    servers = [make_server(index, builder=builder, **lock) for _ in range(count)]

    with ThreadPoolExecutor() as pool:
        list(pool.map(lambda server: server.install(), servers))

    assert [server.says("import brush; print(brush.WIDTH)") for server in servers] == ["3"] * count
    assert builds(counted) == 1
    index.down = True
    make_server(index, builder=None, **lock).install()
    assert builds(counted) == 1


def _lock(index: Index) -> str:
    found = index.projects["brush"].files["brush-1.0.tar.gz"]
    return f"brush==1.0 --hash=sha256:{found.sha256}\n"


def test_a_build_that_fails_is_reported_once_to_all_who_wait(
    make_server: MakeServer, index: Index, counted: Path
) -> None:
    index.add("brush", "1.0", as_sdist=True, modules=backend(counted, fails=True))
    builder = built_by(Address("forge", local=True), sys.executable)
    lock = {"lock": _lock(index), "lock_digest": "brush"}
    servers = [make_server(index, builder=builder, **lock) for _ in range(2)]
    for server in servers:
        server.host.run(["mkdir", "-p", server.site.deploy_path])

    with ThreadPoolExecutor() as pool:
        tries = [pool.submit(server.install) for server in servers]

    for one in tries:
        assert "brush-1.0.tar.gz could not be built on forge" in str(one.exception())
        assert "no compiler here" in str(one.exception())
    assert not list(Path(servers[0].site.wheels_cache).glob("parts/*"))


@pytest.mark.parametrize(
    "tags",
    [
        ("cp39-cp39-linux_x86_64", "cp39-cp39-manylinux_2_17_x86_64", "py3-none-any"),
        tuple(tag for tag in own_python().tags if "manylinux" not in tag),
    ],
    ids=["another Python", "an older C library"],
)
def test_a_builder_that_does_not_fit_is_refused_before_it_builds(
    make_server: MakeServer, index: Index, tmp_path: Path, tags: tuple[str, ...]
) -> None:
    server = make_server(index, builder=built_by(Address("forge", local=True), sys.executable))
    older = ServerPython(tags, own_python().markers)

    with pytest.raises(WheelError, match=r"forge has CPython .* can't build for .* Choose a build"):
        build_wheel(server.site, older, tmp_path / "brush-1.0.tar.gz", tmp_path / "part")


def test_without_a_builder_nobody_builds(
    make_server: MakeServer, index: Index, counted: Path
) -> None:
    server = make_server(index, lock=_lock(index), lock_digest="brush")

    with pytest.raises(
        WheelError, match="has to be built, but the environment has no builder"
    ) as refusal:
        server.install()

    assert "Choose a builder in the environment" in str(refusal.value)
    assert builds(counted) == 0


@pytest.mark.django_db
def test_the_worker_builds_for_nobody(inventory: Inventory) -> None:
    environment = inventory.environment
    environment.wheels = Environment.Wheels.SHIPPED
    environment.save()
    placement = environment.placements.get()

    assert site_of(placement, cancelled=Event()).builder is None
    environment.builder = placement.server
    environment.save()
    builder = site_of(environment.placements.get(), cancelled=Event()).builder
    assert builder
    assert builder.name == placement.server.name


def test_a_builder_out_of_reach_says_nothing_about_the_server(
    make_server: MakeServer, index: Index, counted: Path, offline_sshd: Sshd
) -> None:
    nowhere = offline_sshd.address_for("forge", port=9)
    lock = {"lock": _lock(index), "lock_digest": "brush"}
    server = make_server(index, builder=built_by(nowhere), **lock)

    with pytest.raises(WheelError, match=r"could not be built on forge: "):
        server.install()
