"""Servers that reach no index get their wheels from the worker, each once."""

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

import pytest

from deploy_manager.exceptions import RecipeError, WheelError
from deploy_manager.hosts.dry import DryHost
from deploy_manager.recipes import get_recipe
from tests.parts.index import Index
from tests.parts.matrices import few
from tests.wheel_site import MakeServer, lock_of


@pytest.fixture
def index() -> Iterator[Index]:
    """An index that asks for a password."""
    with Index("ann", "s3cret") as index:
        index.add("shopkit", "1.0", requires=("paint",))
        index.add("paint", "2.0")
        yield index


@pytest.mark.parametrize("installer", few("pip", "uv"))
def test_a_server_without_index_gets_everything(
    make_server: MakeServer, index: Index, installer: str
) -> None:
    server = make_server(index, installer=installer, **lock_of(index, "shopkit"))

    printed = server.install()

    assert server.says("import shopkit, paint; print(paint.VERSION)") == "2.0"
    assert "2 wheels for CPython" in printed
    assert "s3cret" not in printed


def test_nothing_is_fetched_twice_and_only_what_lacks_is_sent(
    make_server: MakeServer, index: Index
) -> None:
    index.add("paint", "2.1")
    first, second = lock_of(index, "shopkit", "paint==2.0"), lock_of(index, "shopkit", "paint==2.1")
    index.requests.clear()
    one, two = make_server(index, **first), make_server(index, **first)
    with ThreadPoolExecutor() as pool:
        list(pool.map(lambda server: server.install(), (one, two)))

    assert sorted(index.requests) == sorted(set(index.requests))
    stored = one.files(".deploy/wheels")
    index.requests.clear()
    one.install(release="r2", **second)
    assert {path.split("/")[2] for path in index.requests} == {
        "paint",
        "paint-2.1-py3-none-any.whl",
    }
    assert len(set(one.files(".deploy/wheels")) - set(stored)) == 1

    index.down = True
    two.install(release="r2", **second)
    assert len(two.files(".deploy/wheels")) == 3


def test_a_wheel_that_came_spoilt_is_sent_again(make_server: MakeServer, index: Index) -> None:
    server = make_server(index, **lock_of(index, "paint"))
    server.install()
    (name,) = server.files(".deploy/wheels")
    path = f"{server.site.tools_path}/wheels/{name}"
    server.host.put(b"spoilt", path)

    server.install(release="r2", lock_digest="another")

    assert server.host.run(["sha256sum", path]).stdout.split()[0] == name.removesuffix(".whl")


def test_a_wrong_hash_stops_before_anything_is_installed(
    make_server: MakeServer, index: Index, tmp_path: Path
) -> None:
    index.add("broken", "1.0", is_broken=True)
    server = make_server(index, **lock_of(index, "shopkit"))
    digest = index.projects["broken"].files["broken-1.0-py3-none-any.whl"].sha256
    lock = f"{server.site.lock}broken==1.0 --hash=sha256:{digest}\n"

    with pytest.raises(
        WheelError,
        match=r"broken-1\.0-py3-none-any\.whl does not have the hash that the lock gives",
    ):
        server.install(lock=lock)

    assert server.host.run(
        ["test", "-e", f"{server.site.tools_path}/wheels"], check=False
    ).exit_code
    assert not list(Path(server.site.wheels_cache).glob("files/*/broken*"))
    assert not list(Path(server.site.wheels_cache).glob("parts/*"))


def test_files_that_were_exchanged_on_the_index_are_refused(
    make_server: MakeServer, index: Index
) -> None:
    server = make_server(index, **lock_of(index, "paint"))
    index.add("paint", "2.0", modules={"paint.py": "VERSION = 'evil'"})

    with pytest.raises(WheelError, match="have other hashes than the lock: nothing was installed"):
        server.install()


def test_the_index_is_named_without_its_password_when_it_is_down(
    make_server: MakeServer, index: Index
) -> None:
    server = make_server(index, **lock_of(index, "paint"))
    index.down = True

    with pytest.raises(WheelError, match=r"paint 2.0 could not be fetched from .*503") as error:
        server.install()

    assert "s3cret" not in str(error.value)
    index.down = False
    server.install()
    assert server.says("import paint; print(paint.VERSION)") == "2.0"


def test_pins_without_hashes_are_verified_by_the_index_and_it_is_given(
    make_server: MakeServer, index: Index
) -> None:
    server = make_server(index, lock="paint==2.0\n", lock_digest="bare")

    assert "The lock file has no hashes" in server.install()
    assert (
        "--hash=sha256:"
        in server.host.run(f"cat {server.site.release_path}/venv/shipped.lock").stdout
    )


def test_a_pin_for_another_system_is_left_out(make_server: MakeServer, index: Index) -> None:
    lock = 'paint==2.0\nshopkit==1.0 ; sys_platform == "win32"\n'
    server = make_server(index, lock=lock, lock_digest="marked")

    server.install()

    assert server.files("venvs") == ["paint-2.0-py3-none-any.whl"]


def test_wheels_that_no_environment_needs_are_cleaned_up(
    make_server: MakeServer, index: Index
) -> None:
    index.add("paint", "2.1")
    server = make_server(index, **lock_of(index, "paint==2.0"), keep_releases=1)
    server.install()
    server.host.run(["rm", "-rf", server.site.release_path])
    server.install(release="r2", **lock_of(index, "paint==2.1"))
    assert len(server.files(".deploy/wheels")) == 2

    get_recipe("clean_up").function(server.host, replace(server.site, release="r2"))

    assert len(server.files(".deploy/wheels")) == 1
    assert server.files("venvs") == ["paint-2.1-py3-none-any.whl"]


def test_a_dry_run_shows_and_fetches_nothing(make_server: MakeServer, index: Index) -> None:
    server = make_server(index, may_fetch=False, **lock_of(index, "paint"))
    index.requests.clear()
    lines: list[str] = []

    get_recipe("install_requirements").function(DryHost("web1", lines.append), server.site)

    assert not index.requests
    assert any("sends the server those that it lacks" in line for line in lines)
    assert any("--no-index --find-links" in line for line in lines)


def test_a_server_that_shows_nothing_of_its_python_is_named(
    make_server: MakeServer, index: Index
) -> None:
    server = make_server(index, **lock_of(index, "paint"))
    server.install()
    path = server.host.run(["readlink", "-f", f"{server.site.release_path}/venv"]).stdout.strip()
    server.host.run(f"rm {path}/.complete {path}/bin/python && ln -s /bin/false {path}/bin/python")

    with pytest.raises(RecipeError, match="web1 does not report which wheels it accepts"):
        get_recipe("install_requirements").function(server.host, server.site)
