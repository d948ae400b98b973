"""In a network whose certificate authority is in the system's store only, everything is reached."""

import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from pytest_django import Settings

from deploy_manager.advisories.asking import advise
from deploy_manager.advisories.osv_source import OsvSource
from deploy_manager.exceptions import IndexUnreachable, PinError
from deploy_manager.notifications import sending
from deploy_manager.notifications.sending import send
from deploy_manager.packages.pins import pinned_in
from deploy_manager.requirements.completing import complete_pins
from deploy_manager.requirements.index_facts import look_up, open_index
from deploy_manager.requirements.pins import lock_digest, lock_text
from tests.parts.authority import Authority
from tests.parts.demo import demo_module
from tests.parts.index import Index
from tests.parts.matrices import few
from tests.parts.osv import OsvStub
from tests.parts.receivers import Webhook, receiving
from tests.recipe_site import RecipeSite

demo_index = demo_module("package_index")

pytestmark = pytest.mark.usefixtures("nothing_said")

FILL = """
import sys
from pathlib import Path
from example_project.demo.package_index import fill
fill(*map(Path, sys.argv[1:]))
"""
TOP = Path(__file__).parent.parent
CLIENTS = re.compile(r"\b(PyPISimple|urlopen|requests\.(\w*[sS]ession|get|post|request))\(")


def newest(index: Index) -> str:
    return look_up("shopkit", index.url).versions[-1].version


def downloadable(index: Index) -> str:
    with open_index(index.url) as client:
        (file,) = client.get_project_page("shopkit").packages
        return str(file.version)


def resolved(index: Index) -> str:
    (pin,) = complete_pins("shopkit\n", index_url=index.url)
    return pin.version


@pytest.mark.mounts
@pytest.mark.parametrize("ask", [newest, downloadable, resolved])
def test_the_worker_trusts_an_index_as_the_system_does(
    authority: Authority, tls_index: Index, ask: Callable[[Index], str]
) -> None:
    assert authority.known_to_the_system(lambda: ask(tls_index)) == "1.0"


@pytest.mark.parametrize("ask", [newest, downloadable, resolved])
def test_the_worker_trusts_what_the_environment_names(
    authority: Authority,
    tls_index: Index,
    ask: Callable[[Index], str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("SSL_CERT_FILE", str(authority.bundle))
    assert ask(tls_index) == "1.0"


def test_the_worker_trusts_nobody_else(tls_index: Index) -> None:
    with pytest.raises(IndexUnreachable, match="CERTIFICATE_VERIFY_FAILED"):
        newest(tls_index)
    with pytest.raises(PinError, match="certificate"):
        resolved(tls_index)


@pytest.mark.mounts
def test_a_bundle_for_requests_goes_before_the_system_s_store(
    authority: Authority, tls_index: Index, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("REQUESTS_CA_BUNDLE", str(tmp_path))
    with pytest.raises(IndexUnreachable, match="CERTIFICATE_VERIFY_FAILED"):
        authority.known_to_the_system(lambda: newest(tls_index))
    monkeypatch.setenv("REQUESTS_CA_BUNDLE", str(authority.bundle))
    assert newest(tls_index) == "1.0"


@pytest.mark.mounts
def test_advisories_are_asked_for(authority: Authority, osv: OsvStub) -> None:
    osv.speak_tls(authority.server)
    osv.add("PYSEC-1", "shopkit", fixed="1.1")
    kit, sources = ("shopkit", "1.0"), [OsvSource(osv.url)]
    found = authority.known_to_the_system(lambda: advise([kit], sources))
    assert [one.identifier for one in found[kit].advisories] == ["PYSEC-1"]
    assert "CERTIFICATE_VERIFY_FAILED" in advise([kit], sources)[kit].problem


@pytest.mark.mounts
def test_people_are_reported(
    authority: Authority, settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sending, "SECONDS", 60)
    with receiving(Webhook) as receiver:
        receiver.socket = authority.server.wrap_socket(receiver.socket, server_side=True)
        url = f"jsons://127.0.0.1:{receiver.port}/"
        settings.DEPLOY_MANAGER = {**settings.DEPLOY_MANAGER, "NOTIFY": {"team": url}}
        authority.known_to_the_system(lambda: send("team", "It failed", "on web1"))
        assert receiver.told[0]["title"] == "It failed"


@pytest.mark.mounts
@pytest.mark.parametrize("installer", few("uv", "pip"))
def test_servers_trust_an_index_as_their_system_does(
    authority: Authority, tls_index: Index, recipe_site: RecipeSite, installer: str
) -> None:
    def prepare() -> str:
        lock = lock_text(complete_pins("shopkit\n", index_url=tls_index.url))
        recipe_site.use(lock=lock, lock_digest=lock_digest(lock), pins=pinned_in(lock))
        recipe_site.use(installer=installer, index_url=tls_index.url)
        return recipe_site.run("checkout_latest", "make_virtualenv", "install_requirements")

    assert "shopkit" in authority.known_to_the_system(prepare)


@pytest.mark.mounts
def test_the_demo_fills_its_index(
    authority: Authority, tls_index: Index, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PIP_INDEX_URL", tls_index.url)
    pins = tmp_path / "requirements.txt"
    pins.write_text("shopkit==1.0\n")
    fill = [sys.executable, "-c", FILL, str(tmp_path / "index"), str(pins)]
    authority.known_to_the_system(lambda: subprocess.run(fill, cwd=TOP, check=True))
    assert list((tmp_path / "index/files").glob("shopkit-1.0-*.whl"))


def test_there_is_one_way_to_a_client_of_https() -> None:
    made = [
        path.relative_to(TOP).as_posix()
        for path in (TOP / "deploy_manager").rglob("*.py")
        if CLIENTS.search(path.read_text())
    ]
    assert sorted(made) == [
        "deploy_manager/client/connection.py",  # installed without the rest: trusts as that does
        "deploy_manager/https.py",
        "deploy_manager/requirements/index_client.py",
    ]
