"""Reading other tools' inventories: nothing in them is run, and one bad entry stops no other."""

import json
import os
import sys
import time
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest

from deploy_manager.exceptions import InventoryError
from deploy_manager.inventories import ansible_command
from deploy_manager.inventories.format import Format
from deploy_manager.inventories.formats import FORMATS, read_inventory
from deploy_manager.inventories.found import Inventory
from tests.inventory_files import MAKERS, machines

ROOM = Path(ansible_command.__file__).parent


def read(text: str, form: str = "") -> Inventory:
    return read_inventory(text.encode(), form)


def reasons(found: Inventory) -> str:
    return " ".join(map(str, found.left_out))


def test_every_format_is_in_the_list_and_has_a_maker() -> None:
    files = {path.stem for path in ROOM.glob("*.py") if "FORMAT = Format(" in path.read_text()}
    modules = {form.read.__module__.rpartition(".")[2] for form in FORMATS.values()}
    assert modules == files
    assert {*FORMATS} - {"ansible-list"} == {*MAKERS}
    assert all(isinstance(form, Format) and name == form.name for name, form in FORMATS.items())


@pytest.mark.parametrize("name", MAKERS)
def test_a_file_is_recognised_by_its_content(name: str) -> None:
    found = read(MAKERS[name](machines(10)))
    assert found.format == name
    assert {each.name for each in found.servers} == {each.name for each in machines(10)}
    assert {each.address for each in found.servers} == {each.address for each in machines(10)}
    assert not found.left_out


def test_variables_of_ansible_say_how_a_host_is_reached() -> None:
    found = read(
        "a ansible_host=10.0.0.1 ansible_port=2222 ansible_user=ann"
        " ansible_ssh_common_args='-o StrictHostKeyChecking=yes -o ProxyJump=ann@gate:22'\n"
        "b ansible_ssh_common_args='-J gate'\n"
        "c ansible_ssh_common_args='-o ProxyCommand=\"ssh -W %h:%p -q -p 2200 ann@gate\"'\n"
        "d ansible_connection=local\n"
        "e ansible_connection=winrm\n"
        "f ansible_ssh_common_args='-o ProxyCommand=\"nc -x socks %h %p\"'\n"
        "g ansible_port=ssh\n",
        "ansible-ini",
    )
    servers = {each.name: each for each in found.servers}
    assert (servers["a"].address, servers["a"].port, servers["a"].user) == ("10.0.0.1", 2222, "ann")
    gateways = {name: each.gateway for name, each in servers.items()}
    assert gateways == {"a": "ann@gate:22", "b": "gate", "c": "ann@gate:2200", "d": None}
    assert servers["d"].connection == "local"
    assert [str(entry.where) for entry in found.left_out] == ["e", "f", "g"]


def test_groups_are_those_around_a_group_too() -> None:
    found = read("[web]\na\n[inner:children]\nweb\n[outer:children]\ninner\n")
    assert set(found.servers[0].groups) == {"web", "inner", "outer"}


HOSTILE = {
    "a template": "[web]\na ansible_host=\"{{ lookup('pipe', 'touch %s') }}\"\n",
    "a template for a group": "[web]\na\n[web:vars]\nansible_user={{ lookup('pipe','> %s') }}\n",
    "a script": "#!/bin/sh\ntouch %s\necho '{}'\n",
    "Python in a value": "a ansible_port=__import__('os').system('touch\\ %s')\n",
}


@pytest.mark.parametrize("form", ["ansible-ini", "ansible-yaml"])
@pytest.mark.parametrize("text", HOSTILE.values(), ids=HOSTILE)
def test_nothing_in_a_file_of_ansible_is_run(form: str, text: str, tmp_path: Path) -> None:
    mark = tmp_path / "run"
    try:
        found = read(text % mark, form)
    except InventoryError:
        found = Inventory()
    assert not mark.exists()
    assert not [each for each in found.servers if "{" in each.address + each.user]


YAML = {
    "another plugin": "plugin: ansible.builtin.generator\nhosts: {name: '{{ 1 }}'}\n",
    "a constructed one": "plugin: constructed\ncompose: {x: \"lookup('pipe','touch %s')\"}\n",
    "an object of Python": "all: {hosts: {a: !!python/object/apply:os.system ['touch %s']}}\n",
    "a vault": "all: {hosts: {a: {ansible_host: !vault '$ANSIBLE_VAULT;1.1;AES256 62'}}}\n",
    "unsafe": "all: {hosts: {a: {ansible_host: !unsafe \"{{ lookup('pipe','touch %s') }}\"}}}\n",
}


@pytest.mark.parametrize("text", YAML.values(), ids=YAML)
def test_nothing_that_yaml_can_name_is_run(text: str, tmp_path: Path) -> None:
    mark = tmp_path / "run"
    try:
        found = read(text.replace("%s", str(mark)), "ansible-yaml")
    except InventoryError:
        found = Inventory()
    assert not mark.exists()
    assert not found.servers


def test_no_variable_and_no_file_beside_reaches_ansible(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    mark = tmp_path / "run"
    script = tmp_path / "ansible.cfg"
    script.write_text("[inventory]\nenable_plugins = script, auto, ini\n")
    monkeypatch.setenv("ANSIBLE_CONFIG", str(script))
    monkeypatch.setenv("ANSIBLE_INVENTORY_ENABLED", "script")
    monkeypatch.setenv("SECRET", "word")
    monkeypatch.chdir(tmp_path)
    (tmp_path / "group_vars").mkdir()
    (tmp_path / "group_vars/all.yml").write_text("ansible_user: evil\n")
    with pytest.raises(InventoryError):
        read(f"#!/bin/sh\ntouch {mark}\n", "ansible-yaml")
    assert not mark.exists()
    assert read("web1\nweb2\n").servers[0].user == ""


def test_ranges_and_aliases_without_end_are_given_up(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ansible_command, "TIMEOUT", 1.5)
    names = "abcdefghi"
    bomb = ["a: &a [x,x,x,x,x,x,x,x,x]"]
    for before, name in pairwise(names):
        bomb.append(f"{name}: &{name} [{','.join([f'*{before}'] * 9)}]")
    bomb.append("all: {hosts: {x: {v: *i}}}")
    for text, form in (("\n".join(bomb), "ansible-yaml"), ("web[0:999999999]", "ansible-ini")):
        began = time.monotonic()
        with pytest.raises(InventoryError):
            read(text, form)
        assert time.monotonic() - began < 10


def test_without_ansible_the_error_says_what_to_do(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", "/nonexistent")
    monkeypatch.setattr(sys, "executable", "/nonexistent/python")
    with pytest.raises(InventoryError, match=r"deploy-manager\[ansible\].*--list"):
        read("[web]\na\n")


def test_a_broken_file_of_ansible_is_explained_in_its_own_words() -> None:
    with pytest.raises(InventoryError, match="Ansible can't read the file") as error:
        read("[web]\na\n[other:nonsense]\nx\n")
    assert os.sep + "tmp" not in str(error.value)


def test_blocks_that_run_a_command_are_left_out(tmp_path: Path) -> None:
    mark = tmp_path / "run"
    for keyword in ("Match", "match", "MATCH", "Match ="):
        text = f'Host a\n  User ann\n{keyword} exec "touch {mark}"\n  User evil\nHost b\n'
        found = read(text)
        assert [(each.name, each.user) for each in found.servers] == [("a", "ann"), ("b", "")]
        assert "line 3: Match blocks" in reasons(found)
    assert not mark.exists()


def test_ssh_config_names_servers_and_gateways() -> None:
    found = read(
        "Host web1 web1.example.org\n HostName 10.0.0.1\n ProxyJump gate\n"
        "Host db1 db2\n ProxyCommand ssh gate -W %h:%p\n HostName %h.internal\n"
        "Host direct\n ProxyJump none\nInclude other\nHost *\n User ann\n"
        "Host bad\n Port x\nHost command\n ProxyCommand nc %h %p\n"
    )
    gateways = {each.name: each.gateway for each in found.servers}
    assert gateways == {"web1": "gate", "db1": "gate", "db2": "gate", "direct": ""}
    assert {each.address for each in found.servers} >= {"10.0.0.1", "db2.internal"}
    assert {each.user for each in found.servers} == {"ann"}
    assert [str(entry.where) for entry in found.left_out] == ["line 9", "line 12", "line 14"]


@pytest.mark.parametrize(
    ("header", "row"),
    [
        ("name,address,port,user,gateway,roles", 'a,10.0.0.1,22,ann,gate,"web,app"'),
        ("Server;IP-Address;SSH port;Login;Jump host;Groups", "a;10.0.0.1;22;ann;gate;web app"),
        ("roles\tuser\tport\tbastion\thost\tname", "web|app\tann\t22\tgate\t10.0.0.1\ta"),
    ],
)
def test_tables_have_any_usual_header(header: str, row: str) -> None:
    (server,) = read(f"{header}\r\n\r\n{row}\r\n").servers
    assert (server.name, server.address, server.port, server.user) == ("a", "10.0.0.1", 22, "ann")
    assert (server.gateway, set(server.groups)) == ("gate", {"web", "app"})
    assert str(server.where) == "line 3"


def test_one_bad_entry_stops_no_other() -> None:
    node = {"name": "good", "automatic": {"ipaddress": "10.0.0.1"}}
    rows: list[object] = [None, 1, "x", [], {}, {"name": None}, {"name": "far"}, node]
    found = read(json.dumps({"rows": rows}), "chef")
    assert [each.name for each in found.servers] == ["good"]
    assert len(found.left_out) == 7
    found = read('name,address,port\na,10.0.0.1,0\nb,10.0.0.1,22\nc,10.0.0.1,"x\n')
    assert [each.name for each in found.servers] == ["b"]
    found = read(json.dumps(node) + "\n{broken")
    assert [each.name for each in found.servers] == ["good"]
    assert "not JSON" in reasons(found)


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        (b"", "empty"),
        (b" \n", "empty"),
        (b"a\0b", "NUL"),
        (b"name,address\n\xe9,x\n", "line 2"),
        (b"[" * 200_000, "nested too deeply"),
        (b'{"a":' * 200_000, "nested too deeply"),
        (b'{"a": ' + b"1" * 10_000 + b"}", "too many digits"),
        (b"x" * (65 * 1024 * 1024), "larger than 64 MiB"),
        (b"a\n" * (3 * 1024 * 1024), "larger than 2 MiB"),
        (b"\x1b[2J", "format of the file is not known"),
        (b"{}", "format of the file is not known"),
        (b"name,address\n", "No server was found"),
        (b"name,address\n" + b"a,10.0.0.1\n" * 10_001, "more than 10000 entries"),
    ],
    ids=str,
)
def test_what_is_no_inventory_is_refused(data: bytes, reason: str) -> None:
    with pytest.raises(InventoryError, match=reason):
        read_inventory(data)


def test_ten_megabytes_of_facts_are_read_in_a_moment() -> None:
    rows = json.loads(MAKERS["puppetdb-inventory"](machines(200)))
    for row in rows:
        row["facts"]["much"] = {str(number): "x" * 50 for number in range(900)}
    text = json.dumps(rows)
    assert len(text) > 10_000_000
    began = time.monotonic()
    assert len(read(text).servers) == 200
    assert time.monotonic() - began < 10


def test_names_come_without_controls() -> None:
    listed: dict[str, Any] = {
        "_meta": {"hostvars": {"a\u001b[2J": {}, "\ud800": {}, "__proto__": {}}}
    }
    found = read(json.dumps(listed))
    names = {each.name for each in found.servers}
    assert names == {"a\ufffd[2J", "?", "__proto__"}
    for name in names:
        name.encode()


def test_groups_that_go_round_in_a_circle_end() -> None:
    listed: dict[str, Any] = {
        "_meta": {"hostvars": {"a": {}}},
        "x": {"children": ["y"], "hosts": ["a"]},
        "y": {"children": ["x", "x", 3, None]},
        "odd": 7,
    }
    (server,) = read(json.dumps(listed)).servers
    assert set(server.groups) == {"x", "y"}
