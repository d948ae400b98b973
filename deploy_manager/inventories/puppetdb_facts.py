"""The rows of PuppetDB's `/pdb/query/v4/facts`: one for each fact of a node."""

from typing import Any

from deploy_manager.inventories.format import Format
from deploy_manager.inventories.found import Inventory, at_entry, take_each
from deploy_manager.inventories.puppet import server_of_facts
from deploy_manager.inventories.source import Source
from deploy_manager.inventories.values import mapping_of, text_of

KEYS = frozenset({"certname", "name", "value"})


def _looks_like(source: Source) -> bool:
    return any(mapping_of(row).keys() >= KEYS for row in source.rows)


def _read(source: Source) -> Inventory:
    nodes: dict[str, dict[str, Any]] = {}
    for row in map(mapping_of, source.rows):
        facts = nodes.setdefault(text_of(row.get("certname")), {})
        facts[text_of(row.get("name"))] = row.get("value")
    entries = (
        (at_entry(number, certname), (certname, facts))
        for number, (certname, facts) in enumerate(nodes.items(), 1)
    )
    return take_each(entries, lambda node: server_of_facts(*node), source.documents[1])


FORMAT = Format("puppetdb-facts", "PuppetDB (facts)", _looks_like, _read, is_json=True)
