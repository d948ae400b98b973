"""Fetching a host key from a real sshd, and pinning what a person saw."""

import socket

import pytest
from django.contrib.admin.models import LogEntry
from django.core import signing
from django.test import Client

from deploy_manager.admin.inventory.host_keys import SALT
from deploy_manager.hosts.keys import fingerprint
from deploy_manager.models import Server
from tests.parts.admin import url, visitor
from tests.parts.sshd import Sshd

OLD_KEY = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIHHJ3h6GkBaKjDTm0TsYeOaIhTHkRd2qPZzmYFIjpQVe"


@pytest.fixture
def server(db: None, sshd: Sshd) -> Server:
    return Server.objects.create(name="web", address=sshd.address, port=sshd.port, user=sshd.user)


def look(client: Client, server: Server) -> str:
    """Open the page and return what its form would send."""
    return str(client.post(url("server_host_key", server.pk)).context["seen"])


def confirm(client: Client, server: Server, seen: str) -> str:
    answer = client.post(url("server_host_key", server.pk), {"seen": seen})
    server.refresh_from_db()
    return server.host_key if answer.status_code == 302 else "not answered"


def test_the_fingerprint_is_shown_and_nothing_pinned_before_a_person_confirms(
    server: Server, sshd: Sshd
) -> None:
    page = visitor("owner").post(url("server_host_key", server.pk)).content.decode()
    assert fingerprint(sshd.host_key) in page
    assert "none yet" in page
    server.refresh_from_db()
    assert server.host_key == ""


def test_what_was_confirmed_is_pinned_and_noted(server: Server, sshd: Sshd) -> None:
    owner = visitor("owner")
    assert confirm(owner, server, look(owner, server)) == sshd.host_key
    assert fingerprint(sshd.host_key) in LogEntry.objects.get().change_message
    page = owner.post(url("server_host_key", server.pk)).content.decode()
    assert "shows the key that is pinned" in page
    assert fingerprint(sshd.host_key) in owner.get(url("server_changelist")).content.decode()


def test_another_key_than_the_pinned_one_is_shown_with_both_fingerprints(
    server: Server, sshd: Sshd
) -> None:
    Server.objects.update(host_key=OLD_KEY)
    page = visitor("owner").post(url("server_host_key", server.pk)).content.decode()
    assert fingerprint(OLD_KEY) in page
    assert fingerprint(sshd.host_key) in page
    assert "a different key from the pinned one" in page


def forged(shown: Server, **changes: object) -> str:
    seen = {
        "server": shown.pk,
        "address": f"{shown.address}:{shown.port}",
        "way": [],
        "pinned": shown.host_key,
        "line": OLD_KEY,
    }
    return signing.dumps(seen | changes, salt=SALT)


def test_a_value_that_was_tampered_with_pins_nothing(server: Server) -> None:
    owner = visitor("owner")
    seen = look(owner, server)
    for wrong in ("", "x", seen[:-2] + "zz", "A" + seen, signing.dumps({"line": OLD_KEY})):
        assert confirm(owner, server, wrong) == ""


@pytest.mark.parametrize(
    "change", [{"server": 0}, {"address": "x:22"}, {"way": ["x:22"]}, {"pinned": "other"}]
)
def test_a_value_for_something_else_pins_nothing(server: Server, change: dict[str, object]) -> None:
    assert confirm(visitor("owner"), server, forged(server, **change)) == ""


def test_a_key_that_was_seen_through_another_gateway_is_not_pinned(server: Server) -> None:
    owner = visitor("owner")
    seen = look(owner, server)
    gateway = Server.objects.create(name="gateway", address="192.0.2.1", user="ann")
    Server.objects.filter(pk=server.pk).update(gateway=gateway)
    assert confirm(owner, server, seen) == ""
    Server.objects.filter(pk=gateway.pk).update(gateway=server)
    assert confirm(owner, server, seen) == "", "a circle is no error of the page"


def test_a_value_that_is_too_old_pins_nothing(
    server: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("deploy_manager.admin.inventory.host_keys.VALID_SECONDS", -1)
    assert confirm(visitor("owner"), server, forged(server)) == ""


def test_a_viewer_pins_nothing(server: Server) -> None:
    answer = visitor("viewer").post(url("server_host_key", server.pk), {"seen": forged(server)})
    server.refresh_from_db()
    assert (answer.status_code, server.host_key) == (403, "")


def test_a_server_that_does_not_answer_is_reported(server: Server) -> None:
    Server.objects.update(port=1)
    page = visitor("owner").post(url("server_host_key", server.pk)).content.decode()
    assert 'class="errornote"' in page
    assert 'name="seen"' not in page


def test_the_workers_own_machine_has_no_key(db: None) -> None:
    local = Server.objects.create(name="here", connection="local")
    page = visitor("owner").get(url("server_host_key", local.pk)).content.decode()
    assert "no host key to pin" in page


def test_the_action_shows_the_key_of_one_server(server: Server, sshd: Sshd) -> None:
    owner = visitor("owner")
    press = {"action": "fetch_host_key", "_selected_action": [server.pk]}
    answer = owner.post(url("server_changelist"), press)
    assert fingerprint(sshd.host_key) in answer.content.decode()
    assert confirm(owner, server, str(answer.context["seen"])) == sshd.host_key


def test_a_link_asks_no_server(server: Server) -> None:
    """An address that somebody else wrote would be connected to by whoever follows a link."""
    with socket.create_server(("127.0.0.1", 0)) as other:
        Server.objects.update(address="127.0.0.1", port=other.getsockname()[1])
        page = visitor("owner").get(url("server_host_key", server.pk)).content.decode()
        assert "Ask the server for its key" in page
        other.settimeout(0.2)
        with pytest.raises(TimeoutError):
            other.accept()
