"""The rows of PuppetDB's `/pdb/query/v4/inventory`: one for each node, with all of its facts."""

from typing import Any

from deploy_manager.inventories.format import Format
from deploy_manager.inventories.found import FoundServer, Inventory, at_entry, take_each
from deploy_manager.inventories.puppet import server_of_facts
from deploy_manager.inventories.source import Source
from deploy_manager.inventories.values import mapping_of, text_of

KEYS = frozenset({"certname", "facts"})


def _looks_like(source: Source) -> bool:
    return any(mapping_of(row).keys() >= KEYS for row in source.rows)


def _read(source: Source) -> Inventory:
    entries = (
        (at_entry(number, text_of(row.get("certname"))), row)
        for number, row in enumerate(map(mapping_of, source.rows), 1)
    )
    return take_each(entries, _server, source.documents[1])


def _server(row: dict[str, Any]) -> FoundServer:
    trusted = mapping_of(mapping_of(row.get("trusted")).get("extensions"))
    return server_of_facts(row.get("certname"), mapping_of(row.get("facts")), trusted)


FORMAT = Format("puppetdb-inventory", "PuppetDB (inventory)", _looks_like, _read, is_json=True)
