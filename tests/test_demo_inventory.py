"""However people changed its rows, the demo starts again with them."""

import json
import socketserver
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler
from pathlib import Path
from typing import Any

import pytest

from deploy_manager.models import Environment, LockFile, Placement, Release
from tests.parts.demo import demo_module

inventory = demo_module("inventory")
sites = demo_module("sites")

pytestmark = pytest.mark.django_db


@pytest.fixture
def environment(tmp_path: Path) -> Environment:
    made: Environment = inventory.make_environment(tmp_path, tmp_path / "code")
    return made


def start_again(folder: Path) -> list[Placement]:
    again = inventory.make_environment(folder, folder / "code")
    return list(again.placements.order_by("pk"))


def test_rows_that_exist_stay_as_they_are(environment: Environment, tmp_path: Path) -> None:
    before = list(environment.placements.order_by("pk").values())
    start_again(tmp_path)
    assert list(environment.placements.order_by("pk").values()) == before
    assert [each["own_deploy_path"] for each in before] == [
        str(tmp_path / "sites" / name) for name in inventory.SERVERS
    ]


def test_a_server_may_be_placed_twice(environment: Environment, tmp_path: Path) -> None:
    one = environment.placements.get(server__name="one")
    again = environment.placements.create(server=one.server, own_deploy_path="/srv/again")
    placements = start_again(tmp_path)
    assert len(placements) == 5
    assert again in placements
    assert [name for name, _address in sites.addresses(environment)].count("one") == 2


@pytest.mark.parametrize("bind", ["unix:/run/one.sock", "[::1]:1", "nowhere.invalid:1"])
def test_an_address_may_be_of_any_kind(environment: Environment, tmp_path: Path, bind: str) -> None:
    environment.placements.filter(server__name="one").update(own_bind=bind)
    (one, *_others) = start_again(tmp_path)
    assert one.bind == bind


def test_a_port_that_another_program_took_is_replaced(
    environment: Environment, tmp_path: Path
) -> None:
    with socketserver.TCPServer(("127.0.0.1", 0), BaseHTTPRequestHandler) as taken:
        bind = f"127.0.0.1:{taken.server_address[1]}"
        environment.placements.filter(server__name="one").update(own_bind=bind)
        (one, *_others) = start_again(tmp_path)
    assert one.bind != bind


class Health(BaseHTTPRequestHandler):
    def do_GET(self) -> None:
        self.send_response(200)
        self.end_headers()
        self.wfile.write(json.dumps({"commit": "c" * 40}).encode())

    def address_string(self) -> str:
        return "a socket file"

    def log_message(self, *args: Any) -> None: ...


@pytest.fixture
def socket_file(tmp_path: Path) -> Iterator[Path]:
    path = tmp_path / "one.sock"
    with socketserver.UnixStreamServer(str(path), Health) as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.05,))
        thread.start()
        yield path
        server.shutdown()
        thread.join()


def test_a_site_on_a_socket_file_is_asked_there(
    environment: Environment, socket_file: Path
) -> None:
    lock = LockFile.objects.of("d" * 64, "sqlparse==0.5.3\n")
    release = Release.objects.make(environment, "c" * 40, "", lock)
    one = environment.placements.filter(server__name="one")
    one.update(own_bind=f"unix:{socket_file}", active_release=release)
    assert sites.problems(environment, everywhere=False) == []
    one.update(own_bind="unix:/nowhere.sock")
    (problem,) = sites.problems(environment, everywhere=False)
    assert problem.startswith("one at unix:/nowhere.sock serves nothing (")
