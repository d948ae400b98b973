"""What `ansible-inventory --list` prints, whoever ran it: groups, and variables of each host."""

from collections.abc import Iterator
from functools import cache
from typing import Any

from django.utils.translation import gettext_noop as _

from deploy_manager.exceptions import InventoryError
from deploy_manager.inventories.found import FoundServer, Inventory, take_each
from deploy_manager.inventories.jumps import gateway_in_arguments
from deploy_manager.inventories.values import first_of, mapping_of, name_of, port_of, texts_of
from deploy_manager.messages import Message

OF_EVERY_HOST = frozenset({"all", "ungrouped"})
"""Groups that Ansible makes itself."""

CONNECTIONS = {"": "", "smart": "", "ssh": "ssh", "paramiko": "ssh", "local": "local"}
"""What Ansible calls a connection, and what it is here; blank if it is not said."""

ADDRESS = ("ansible_host", "ansible_ssh_host")
PORT = ("ansible_port", "ansible_ssh_port")
USER = ("ansible_user", "ansible_ssh_user")
ARGUMENTS = ("ansible_ssh_common_args", "ansible_ssh_extra_args")
"""Variables, each with its older name or the one that Ansible adds to it."""

USED = (*ADDRESS, *PORT, *USER, *ARGUMENTS, "ansible_connection")


def read_hosts(listed: dict[str, Any]) -> Inventory:
    """Return the hosts that a list has. Raises InventoryError if there are too many."""
    variables = mapping_of(mapping_of(listed.get("_meta")).get("hostvars"))
    groups = {
        name: each if isinstance(each, dict) else {"hosts": each if isinstance(each, list) else []}
        for name, each in listed.items()
        if name != "_meta"
    }
    groups_of = _memberships(groups)

    def read(host: object) -> FoundServer:
        own = mapping_of(variables.get(host)) if isinstance(host, str) else {}
        return _server(host, own, groups_of.get(name_of(host), ()))

    return take_each(((Message(name_of(each)), each) for each in _ordered(groups, variables)), read)


def _server(host: object, own: dict[str, Any], groups: tuple[str, ...]) -> FoundServer:
    for variable in USED:
        _check_plain(variable, own.get(variable))
    connection = first_of(own.get("ansible_connection")).rpartition(".")[2].lower()
    if connection not in CONNECTIONS:
        raise InventoryError(
            _("Its ansible_connection is %(name)s: servers are reached over ssh, or are local."),
            name=connection,
        )
    arguments = " ".join(filter(None, (first_of(own.get(name)) for name in ARGUMENTS)))
    name = name_of(host)
    return FoundServer(
        name=name,
        address=first_of(*(own.get(each) for each in ADDRESS)) or name,
        port=port_of(first_of(*(own.get(each) for each in PORT))),
        user=first_of(*(own.get(each) for each in USER)),
        gateway=gateway_in_arguments(arguments),
        connection=CONNECTIONS[connection],
        groups=groups,
    )


def _check_plain(variable: str, value: object) -> None:
    """Refuse what only Ansible itself could turn into a value, by running it or by a password."""
    if isinstance(value, str) and ("{{" in value or "{%" in value):
        raise InventoryError(
            _("%(variable)s is a template, and templates are not evaluated: write its value."),
            variable=variable,
        )
    if isinstance(value, dict):
        raise InventoryError(
            _("%(variable)s is encrypted or not a text: write its value."), variable=variable
        )


def _ordered(groups: dict[str, Any], variables: dict[str, Any]) -> list[str]:
    """Return the names of all hosts, group by group from the top, in the file's order."""
    found: dict[str, None] = {}
    seen: set[str] = set()
    waiting = list(reversed(["all", *groups]))
    while waiting:
        name = waiting.pop()
        if name in seen or name not in groups:
            continue
        seen.add(name)
        found.update(dict.fromkeys(texts_of(groups[name].get("hosts"))))
        waiting += reversed(texts_of(groups[name].get("children")))
    found.update(dict.fromkeys(filter(None, (name.strip() for name in variables))))
    return list(found)


def _memberships(groups: dict[str, Any]) -> dict[str, tuple[str, ...]]:
    """Return the groups that each host is in, those around its own groups, too."""
    parents: dict[str, list[str]] = {}
    for name, group in groups.items():
        for child in texts_of(group.get("children")):
            parents.setdefault(child, []).append(name)

    @cache
    def around(group: str) -> frozenset[str]:
        return frozenset(_reachable(group, parents))

    found: dict[str, dict[str, None]] = {}
    for name, group in groups.items():
        for host in texts_of(group.get("hosts")):
            found.setdefault(host, {}).update(dict.fromkeys(sorted(around(name))))
    return {host: tuple(each) for host, each in found.items()}


def _reachable(group: str, parents: dict[str, list[str]]) -> Iterator[str]:
    """Yield a group and all around it, each once, even if they go round in a circle."""
    seen, waiting = {group}, [group]
    while waiting:
        name = waiting.pop()
        if name not in OF_EVERY_HOST:
            yield name
        new = [each for each in parents.get(name, ()) if each not in seen]
        seen.update(new)
        waiting += new
