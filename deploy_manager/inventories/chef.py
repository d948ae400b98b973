"""Nodes of Chef: `knife node show NAME -l -F json`, once or often, and `knife search node`."""

from collections.abc import Iterator
from typing import Any

from django.utils.translation import gettext_noop as _

from deploy_manager.exceptions import InventoryError
from deploy_manager.inventories.format import Format
from deploy_manager.inventories.found import FoundServer, Inventory, at_entry, take_each
from deploy_manager.inventories.source import Source
from deploy_manager.inventories.values import first_of, mapping_of, name_of, text_of, texts_of

OF_A_NODE = frozenset({"automatic", "chef_environment", "run_list", "normal"})


def _looks_like(source: Source) -> bool:
    return any(
        "name" in row and not OF_A_NODE.isdisjoint(row) for row in map(mapping_of, _nodes(source))
    )


def _nodes(source: Source) -> Iterator[Any]:
    """Yield each node, those of a search, too."""
    for row in source.rows:
        found = mapping_of(row).get("rows")
        if isinstance(found, list):
            yield from map(_of_a_search, found)
        else:
            yield row


def _of_a_search(row: Any) -> Any:
    """Return a node; with `knife search -a` its row is `{name: {attribute: value}}`."""
    if isinstance(row, dict) and len(row) == 1:
        ((name, attributes),) = row.items()
        if isinstance(attributes, dict):
            return {"name": name, "automatic": attributes}
    return row


def _read(source: Source) -> Inventory:
    entries = (
        (at_entry(number, text_of(node.get("name"))), node)
        for number, node in enumerate(map(mapping_of, _nodes(source)), 1)
    )
    return take_each(entries, _server, source.documents[1])


def _server(node: dict[str, Any]) -> FoundServer:
    known = mapping_of(node.get("automatic"))
    name = name_of(node.get("name"))
    address = first_of(known.get("ipaddress"), known.get("fqdn"), known.get("hostname"))
    if not address:
        raise InventoryError(
            _("It has neither ipaddress nor fqdn: let knife print all attributes, with -l.")
        )
    return FoundServer(name=name, address=address, groups=_roles(node, known))


def _roles(node: dict[str, Any], known: dict[str, Any]) -> tuple[str, ...]:
    """Return the roles that a node has, or is to have by its run list."""
    listed = (
        item.removeprefix("role[").removesuffix("]")
        for item in texts_of(node.get("run_list"))
        if item.startswith("role[")
    )
    return tuple(dict.fromkeys((*texts_of(known.get("roles")), *listed)))


FORMAT = Format("chef", "Chef (knife)", _looks_like, _read, is_json=True)
