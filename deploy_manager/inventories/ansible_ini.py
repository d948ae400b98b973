"""Ansible's INI files, and plain lists of names; read by Ansible itself."""

import re

from deploy_manager.inventories.ansible_command import list_hosts
from deploy_manager.inventories.ansible_hosts import read_hosts
from deploy_manager.inventories.format import Format
from deploy_manager.inventories.found import Inventory
from deploy_manager.inventories.source import Source

# Whatever no other format takes, if its lines begin like names of hosts or of groups.
_LINE = re.compile(r"\s*(\[|[A-Za-z0-9][\w.:\[\]-]*(\s+\S|\s*$))", re.M)


def _looks_like(source: Source) -> bool:
    lines = (line for line in source.text.splitlines() if line.strip())
    meant = next((line for line in lines if not line.lstrip().startswith(("#", ";"))), "")
    return _LINE.match(meant) is not None


def _read(source: Source) -> Inventory:
    return read_hosts(list_hosts(source.text, "ini", "hosts"))


FORMAT = Format("ansible-ini", "Ansible (INI)", _looks_like, _read)
