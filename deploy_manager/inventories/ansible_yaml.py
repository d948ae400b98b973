"""Ansible's YAML files, also those written in JSON; read by Ansible itself."""

import re

from deploy_manager.inventories.ansible_command import list_hosts
from deploy_manager.inventories.ansible_hosts import read_hosts
from deploy_manager.inventories.format import Format
from deploy_manager.inventories.found import Inventory
from deploy_manager.inventories.source import Source
from deploy_manager.inventories.values import mapping_of

_KEY = re.compile(r"(---|[\"']?[\w.@-]+[\"']?\s*:(\s|$))")
_IN_A_GROUP = frozenset({"hosts", "children", "vars"})


def _looks_like(source: Source) -> bool:
    if source.is_json:
        return any(
            isinstance(mapping_of(group).get(key), dict)
            for row in source.rows
            for group in mapping_of(row).values()
            for key in _IN_A_GROUP
        )
    lines = (line for line in source.text.splitlines() if line.strip())
    meant = next((line for line in lines if not line.startswith(("#", "%"))), "")
    return _KEY.match(meant) is not None


def _read(source: Source) -> Inventory:
    return read_hosts(list_hosts(source.text, "yaml", "hosts.yml"))


FORMAT = Format("ansible-yaml", "Ansible (YAML)", _looks_like, _read, is_json=None)
