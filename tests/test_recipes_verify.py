"""A verified site answered as it should, from a process of the current release."""

import os
import signal
import threading
import time
from collections.abc import Iterator
from dataclasses import replace
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from deploy_manager.exceptions import CommandFailed
from deploy_manager.hosts.address import Stream
from deploy_manager.recipes import HealthCheck, Reload, Site
from deploy_manager.recipes.maintenance import maintenance_up
from deploy_manager.recipes.serving import reload
from deploy_manager.recipes.verifying import verify
from tests.parts.processes import free_port
from tests.parts.served import Served


class Handler(BaseHTTPRequestHandler):
    """Answers by what is asked for; ready only after a few tries."""

    tries = 0

    def do_GET(self) -> None:
        type(self).tries += 1
        if self.path == "/late" and self.tries < 3:
            self.send_error(502)
            return
        is_plain = self.headers["X-Forwarded-Proto"] != "https"
        moved = self.path == "/moved" or (self.path == "/secure" and is_plain)
        refused = self.path == "/strict" and self.headers["Host"] != "www.example.org"
        self.send_response(302 if moved else 400 if refused else 200)
        if moved:
            self.send_header("Location", "/elsewhere")
        self.end_headers()
        more = f" {'word ' * 35}{'secret-of-many-letters' * 4}" if self.path == "/long" else ""
        self.wfile.write(f"Host is {self.headers['Host']}{more}".encode())

    def log_message(self, *_words: object) -> None:
        """Nothing is written."""


@pytest.fixture
def web() -> Iterator[str]:
    """The address of a web server that is no gunicorn of ours."""
    Handler.tries = 0
    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever, args=(0.01,))
    thread.start()
    yield f"http://127.0.0.1:{server.server_address[1]}"
    server.shutdown()
    thread.join()
    server.server_close()


def _site(served: Served, url: str, **expected: object) -> Site:
    check = HealthCheck(url=url, deadline=1.0)
    return replace(served.site, reload=Reload("none"), health=replace(check, **expected))  # type: ignore[arg-type]


def _served_site(served: Served, deadline: float = 1.0) -> Site:
    bind = served.reload.bind
    url = f"http://{bind}:/" if bind.startswith("unix:") else f"http://{bind}/"
    return replace(served.site, health=HealthCheck(url=url, deadline=deadline))


def test_a_good_answer_is_reported(served: Served, web: str) -> None:
    verify(served.host, _site(served, f"{web}/", text="Host is", host_header="www.example.org"))

    assert "Status 200." in served.log.of(Stream.STDOUT).decode()


def test_the_host_header_is_sent(served: Served, web: str) -> None:
    expected = "Host is www.example.org"

    verify(served.host, _site(served, web, text=expected, host_header="www.example.org"))


def test_it_tries_until_the_answer_is_good_and_shows_each_change_once(
    served: Served, web: str
) -> None:
    verify(served.host, _site(served, f"{web}/late", deadline=10.0))

    lines = served.log.of(Stream.STDOUT).decode().splitlines()
    assert lines[1:] == ["Status 502 where 200 is expected.", "Status 200."]


def test_another_status_fails(served: Served, web: str) -> None:
    with pytest.raises(CommandFailed, match="Status 200 where 204 is expected"):
        verify(served.host, _site(served, web, status=204))


def test_a_redirect_is_not_followed(served: Served, web: str) -> None:
    with pytest.raises(CommandFailed, match="Status 302 to /elsewhere where 200 is expected"):
        verify(served.host, _site(served, f"{web}/moved"))


def test_a_missing_text_fails(served: Served, web: str) -> None:
    with pytest.raises(CommandFailed, match="the text 'Welcome' is not in it: Host is"):
        verify(served.host, _site(served, web, text="Welcome"))


def test_of_a_long_text_only_whole_words_are_shown(served: Served, web: str) -> None:
    with pytest.raises(CommandFailed, match=r"is not in it: Host is .* word …") as told:
        verify(served.host, _site(served, f"{web}/long", text="Welcome"))
    assert "secret" not in str(told.value)


def test_nobody_listening_fails_at_the_deadline(served: Served) -> None:
    began = time.monotonic()

    with pytest.raises(CommandFailed, match="Connection refused"):
        verify(served.host, _site(served, f"http://127.0.0.1:{free_port()}/", deadline=1.0))

    assert 0.7 < time.monotonic() - began < 5


@pytest.mark.parametrize("host", ["169.254.169.254:80", "192.0.2.7:8000", "[fd00:ec2::254]:80"])
def test_only_the_server_itself_is_asked(served: Served, host: str) -> None:
    """A cloud's metadata would be shown in the log, and be sent the secret of the maintenance."""
    with pytest.raises(CommandFailed, match="is not this server: only its own addresses"):
        verify(served.host, _site(served, f"http://{host}/latest/meta-data/"))


@pytest.mark.parametrize("host", ["localhost", "127.0.0.1"])
def test_a_name_of_the_server_is_asked(served: Served, web: str, host: str) -> None:
    verify(served.host, _site(served, f"http://{host}:{web.rpartition(':')[2]}/"))
    assert f"Asking http://{host}:" in served.log.of(Stream.STDOUT).decode()


def test_a_site_without_a_health_check_is_not_asked(served: Served) -> None:
    verify(served.host, _site(served, ""))

    assert "only who listens at the site's address is looked at" in served.log.our_own


def test_an_old_process_fails(served: Served) -> None:
    served.release("one")
    reload(served.host, served.site)
    verify(served.host, _served_site(served))

    served.release("two")

    with pytest.raises(CommandFailed, match="from release one where two is current"):
        verify(served.host, _served_site(served))


def test_a_stopped_process_fails_at_the_deadline(served: Served) -> None:
    served.release("one")
    reload(served.host, served.site)
    stopped = served.processes()
    for pid in stopped:
        os.kill(pid, signal.SIGSTOP)
    try:
        with pytest.raises(CommandFailed, match="timed out"):
            verify(served.host, _served_site(served))
    finally:
        for pid in stopped:
            os.kill(pid, signal.SIGCONT)


def test_a_socket_file_is_asked(served: Served, tmp_path: Path) -> None:
    served.reload = replace(served.reload, bind=f"unix:{tmp_path}/http.sock")
    served.release("one")
    reload(served.host, served.site)

    verify(served.host, _served_site(served))

    assert "from release one" in served.log.of(Stream.STDOUT).decode()


def test_a_site_in_maintenance_is_looked_at_behind_its_page(served: Served) -> None:
    served.release("one")
    reload(served.host, served.site)
    maintenance_up(served.host, served.site)

    verify(served.host, _served_site(served))


def test_a_site_that_sends_everybody_to_https_is_asked_as_behind_its_web_server(
    served: Served, web: str
) -> None:
    verify(served.host, _site(served, f"{web}/secure"))


def test_a_host_that_the_site_does_not_allow_is_guessed(served: Served, web: str) -> None:
    verify(served.host, _site(served, f"{web}/strict", host_header="www.example.org"))
    with pytest.raises(CommandFailed, match="ALLOWED_HOSTS"):
        verify(served.host, _site(served, f"{web}/strict"))
