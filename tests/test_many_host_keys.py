"""Host keys of many servers at once: fetched from real ones, pinned as they were shown."""

import socket
from pathlib import Path

import pytest
from django.core import signing

from deploy_manager.hosts.keys import fingerprint
from deploy_manager.inventory import host_keys
from deploy_manager.models import Environment, Placement, Project, Server
from tests.commands import call, call_and_be_refused, call_and_fail, events
from tests.parts.admin import url, visitor
from tests.parts.processes import free_port
from tests.parts.sshd import Sshd

OLD_KEY = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIHHJ3h6GkBaKjDTm0TsYeOaIhTHkRd2qPZzmYFIjpQVe"

pytestmark = pytest.mark.django_db(transaction=True)


@pytest.fixture
def servers(sshd: Sshd) -> dict[str, Server]:
    """One without a pinned key, one with the right and one with another, a dead and a local one."""

    def make(name: str, **values: object) -> Server:
        fields = {"address": sshd.address, "port": sshd.port, "user": sshd.user, **values}
        return Server.objects.create(name=name, **fields)

    return {
        "new": make("new"),
        "known": make("known", host_key=sshd.host_key),
        "changed": make("changed", host_key=OLD_KEY),
        "dead": make("dead", port=free_port()),
        "here": make("here", connection="local"),
    }


def keys() -> dict[str, str]:
    return dict(Server.objects.values_list("name", "host_key"))


def show(client: object, servers: dict[str, Server]) -> object:
    chosen = [server.pk for server in servers.values()]
    press = {"action": "fetch_host_key", "_selected_action": chosen}
    return client.post(url("server_changelist"), press)  # type: ignore[attr-defined]


def test_all_are_shown_and_only_the_new_one_is_ticked(
    servers: dict[str, Server], sshd: Sshd
) -> None:
    before = keys()
    answer = show(visitor("owner"), servers)
    page = answer.content.decode()  # type: ignore[attr-defined]
    states = {each.server.name: each.state for each in answer.context["rows"]}  # type: ignore[attr-defined]
    assert states == {"new": "new", "known": "pinned", "changed": "changed", "dead": "unknown"}
    assert f'name="new" value="{servers["new"].pk}" checked' in page
    assert f'name="changed" value="{servers["changed"].pk}" aria' in page
    assert fingerprint(sshd.host_key) in page
    assert fingerprint(OLD_KEY) in page
    assert "nothing listens" in page or "refuse" in page
    assert keys() == before


def test_what_is_ticked_is_pinned_and_nothing_else(servers: dict[str, Server], sshd: Sshd) -> None:
    owner = visitor("owner")
    seen = show(owner, servers).context["seen"]  # type: ignore[attr-defined]
    # Someone who ticks every box of new keys has not agreed to the one that changed.
    sent = {"seen": seen, "new": [server.pk for server in servers.values()]}
    owner.post(url("server_host_keys"), sent)
    assert (keys()["new"], keys()["changed"], keys()["dead"]) == (sshd.host_key, OLD_KEY, "")
    owner.post(url("server_host_keys"), {"seen": seen, "changed": [servers["changed"].pk]})
    assert keys()["changed"] == sshd.host_key


def test_a_server_that_was_changed_meanwhile_is_not_pinned(servers: dict[str, Server]) -> None:
    owner = visitor("owner")
    seen = show(owner, servers).context["seen"]  # type: ignore[attr-defined]
    Server.objects.filter(name="new").update(address="192.0.2.1")
    sent = {"seen": seen, "new": [servers["new"].pk]}
    page = owner.post(url("server_host_keys"), sent, follow=True).content.decode()
    assert "changed in the meantime" in page
    assert keys()["new"] == ""


def test_what_was_forged_pins_nothing(servers: dict[str, Server]) -> None:
    forged = signing.dumps([{"server": servers["new"].pk, "line": OLD_KEY}], salt="other")
    before = keys()
    owner = visitor("owner")
    for seen in ("", "x", forged):
        owner.post(url("server_host_keys"), {"seen": seen, "new": [servers["new"].pk]})
    assert keys() == before


def test_a_viewer_neither_asks_nor_pins(servers: dict[str, Server]) -> None:
    viewer = visitor("viewer")
    assert "rows" not in (show(viewer, servers).context or {})  # type: ignore[attr-defined]
    assert viewer.post(url("server_host_keys"), {"seen": ""}).status_code == 403


def test_a_get_asks_nobody(servers: dict[str, Server], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(host_keys, "fetch_host_key_in_time", pytest.fail)
    assert visitor("owner").get(url("server_host_keys")).status_code == 302


def test_a_command_pins_new_keys_and_says_that_not_all_are_pinned(
    servers: dict[str, Server], sshd: Sshd
) -> None:
    code, told = call_and_fail("host_keys", "--yes-to-new", "--json")
    states = {each["server"]: each["state"] for each in events(told)[:-1]}
    assert states == {"new": "new", "known": "pinned", "changed": "changed", "dead": "unknown"}
    assert (code, events(told)[-1]["pinned"], events(told)[-1]["asked"]) == (1, 2, 4)
    assert (keys()["new"], keys()["changed"]) == (sshd.host_key, OLD_KEY)
    assert "pinned" in call("host_keys", "new", "known")


def test_without_a_person_nothing_is_pinned(servers: dict[str, Server]) -> None:
    before = keys()
    code, told = call_and_fail("host_keys", "new")
    assert (code, keys()) == (1, before)
    assert "SHA256:" in told


@pytest.mark.parametrize("kind", ["printed", "known_hosts", "of another host"])
def test_a_file_says_which_keys_are_taken(
    kind: str, servers: dict[str, Server], sshd: Sshd, tmp_path: Path
) -> None:
    lines = {
        "printed": f"256 {fingerprint(sshd.host_key)} root@web (ED25519)",
        "known_hosts": f"[{sshd.address}]:{sshd.port} {sshd.host_key}",
        "of another host": f"192.0.2.1 {sshd.host_key}",
    }
    file = tmp_path / "keys"
    file.write_text(f"# known\n{lines[kind]}\n")
    words = ("host_keys", "new", "changed", f"--fingerprints={file}")
    if kind == "of another host":
        assert call_and_fail(*words)[0] == 1
        assert (keys()["new"], keys()["changed"]) == ("", OLD_KEY)
    else:
        call(*words)
        assert keys()["new"] == keys()["changed"] == sshd.host_key


def test_wrong_words_are_refused(servers: dict[str, Server], tmp_path: Path) -> None:
    file = tmp_path / "keys"
    file.write_text("nonsense\n")
    assert "line 1 is neither" in call_and_be_refused("host_keys", f"--fingerprints={file}")
    assert "No such server" in call_and_be_refused("host_keys", "nobody")
    assert "no server to ask" in call_and_be_refused("host_keys", "here")


def test_only_servers_of_an_environment_are_asked(servers: dict[str, Server]) -> None:
    project = Project.objects.create(name="shop", repository="/srv/shop.git")
    site = Environment.objects.create(project=project, name="production", deploy_path="/srv/shop")
    Placement.objects.create(environment=site, server=servers["known"])
    told = events(call("host_keys", "--environment=shop/production", "--json"))
    assert [each.get("server") for each in told] == ["known", None]


def test_a_gateway_is_pinned_before_those_behind_it(
    ssh_settings: object, sshd: Sshd, servers: dict[str, Server]
) -> None:
    Server.objects.filter(name="known").update(gateway=servers["new"], host_key="")
    call("host_keys", "known", "new", "--yes-to-new")
    assert keys()["known"] == keys()["new"] == sshd.host_key


def test_a_silent_server_is_given_up_in_time(
    servers: dict[str, Server], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(host_keys, "TIMEOUT", 0.5)
    with socket.create_server(("127.0.0.1", 0)) as silent:
        Server.objects.filter(name="dead").update(port=silent.getsockname()[1])
        seen = host_keys.fetch_host_keys(Server.objects.order_by("name"))
    problems = {each.server.name: str(each.problem) for each in seen}
    assert "within 0.5 s" in problems["dead"]
    assert problems["known"] == ""
