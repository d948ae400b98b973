"""The formats, in the order in which a file is compared with them."""

from dataclasses import replace

from django.utils.translation import gettext_noop as _

from deploy_manager.exceptions import InventoryError
from deploy_manager.inventories import (
    ansible_ini,
    ansible_list,
    ansible_yaml,
    chef,
    csv_table,
    puppetdb_facts,
    puppetdb_inventory,
    ssh_config,
)
from deploy_manager.inventories.format import Format
from deploy_manager.inventories.found import Inventory
from deploy_manager.inventories.source import Source, decode_source

FORMATS = {
    each.name: each
    for each in (
        ansible_list.FORMAT,
        puppetdb_facts.FORMAT,
        puppetdb_inventory.FORMAT,
        chef.FORMAT,
        ssh_config.FORMAT,
        csv_table.FORMAT,
        ansible_yaml.FORMAT,
        ansible_ini.FORMAT,  # the last: any list of names is one
    )
}


def read_inventory(data: bytes, name: str = "") -> Inventory:
    """Return what a file says, in the format of this name or the one that it looks like.

    Raises InventoryError for a file that can't be read, or that has no servers at all.
    """
    source = decode_source(data)
    chosen = FORMATS[name] if name else detect(source)
    found = chosen.read(source)
    if not found.servers and not found.left_out:
        raise InventoryError(
            _("No server was found in it, read as %(format)s. If it is something else, say which."),
            format=chosen.label,
        )
    return replace(found, format=chosen.name)


def detect(source: Source) -> Format:
    """Return the format that a file looks like. Raises InventoryError if it is like none."""
    for each in FORMATS.values():
        if each.is_json in (source.is_json, None) and each.looks_like(source):
            return each
    raise InventoryError(
        _("The format of the file is not known. Say which it is, one of: %(formats)s."),
        formats=", ".join(FORMATS),
    )
