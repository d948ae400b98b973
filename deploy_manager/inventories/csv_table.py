"""Tables with a header: name, address, port, user, gateway and groups, by whatever names."""

import csv
import io
import re
from collections.abc import Iterator

from django.utils.translation import gettext_noop as _

from deploy_manager.exceptions import InventoryError
from deploy_manager.inventories.format import Format
from deploy_manager.inventories.found import FoundServer, Inventory, LeftOut, at_line, take_each
from deploy_manager.inventories.jumps import jump_of
from deploy_manager.inventories.source import Source
from deploy_manager.inventories.values import name_of, port_of, text_of
from deploy_manager.messages import Message

COLUMNS = {
    "name": ("name", "server", "server name", "hostname", "node", "certname"),
    "address": ("address", "host", "ip", "ip address", "ipaddress", "fqdn", "ansible_host"),
    "port": ("port", "ssh port", "ansible_port"),
    "user": ("user", "username", "account", "login", "ansible_user"),
    "gateway": ("gateway", "jump", "jump host", "proxyjump", "bastion"),
    "groups": ("groups", "group", "roles", "role", "tags"),
    "connection": ("connection", "ansible_connection"),
}
"""The columns, and the headers that each may have."""

DELIMITERS = (",", ";", "\t")
_BETWEEN_GROUPS = re.compile(r"[\s,;|]+")

Row = dict[str, str]


def _looks_like(source: Source) -> bool:
    header = _header(source.text)
    return len(header) > 1 and not {"name", "address"}.isdisjoint(header.values())


def _first_line(text: str) -> str:
    return next((line for line in text.splitlines() if line.strip()), "")


def _delimiter(text: str) -> str:
    return max(DELIMITERS, key=_first_line(text).count)


def _header(text: str) -> dict[int, str]:
    """Return what the columns are that are known, by their number."""
    titles = next(csv.reader([_first_line(text)], delimiter=_delimiter(text)), [])
    found: dict[int, str] = {}
    for number, title in enumerate(titles):
        meant = re.sub(r"[\s_-]+", " ", title.strip().lower())
        for column, names in COLUMNS.items():
            is_it = meant in {name.replace("_", " ") for name in names}
            if is_it and column not in found.values():
                found[number] = column
    return found


def _read(source: Source) -> Inventory:
    columns = _header(source.text)
    if {"name", "address"}.isdisjoint(columns.values()):
        raise InventoryError(
            _("The first line names the columns: name, address, port, user, gateway, groups.")
        )
    broken: list[LeftOut] = []
    rows = _rows(source.text, columns, broken)
    found = take_each(((at_line(number), row) for number, row in rows), _server)
    return Inventory(found.servers, (*found.left_out, *broken))


def _rows(text: str, columns: dict[int, str], broken: list[LeftOut]) -> Iterator[tuple[int, Row]]:
    """Yield each row with its line. What follows one that can't be read is noted as broken."""
    reader = csv.reader(io.StringIO(text, newline=""), delimiter=_delimiter(text), strict=True)
    is_header = True
    while True:
        line = reader.line_num + 1
        try:
            cells = next(reader, None)
        except csv.Error as error:
            why = Message(_("The rest can't be read: %(why)s"), why=str(error))
            broken.append(LeftOut(at_line(line), why))
            return
        if cells is None:
            return
        if any(cell.strip() for cell in cells):
            if not is_header:
                yield line, {name: cells[at] for at, name in columns.items() if at < len(cells)}
            is_header = False


def _server(row: Row) -> FoundServer:
    connection = text_of(row.get("connection")).lower()
    if connection not in ("", "ssh", "local"):
        raise InventoryError(
            _("Its connection is %(name)r: that is ssh or local."), name=connection
        )
    gateway = jump_of(text_of(row["gateway"])) if "gateway" in row else None
    groups = filter(None, _BETWEEN_GROUPS.split(text_of(row.get("groups"))))
    return FoundServer(
        name=name_of(row.get("name") or row.get("address")),
        address=text_of(row.get("address")) or text_of(row.get("name")),
        port=port_of(text_of(row.get("port"))),
        user=text_of(row.get("user")),
        gateway=gateway,
        connection=connection,
        groups=tuple(dict.fromkeys(groups)),
    )


FORMAT = Format("csv", "CSV", _looks_like, _read)
