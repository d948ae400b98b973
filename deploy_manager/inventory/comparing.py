"""Compare what a file says with the servers there are. Nothing is written, nothing is connected."""

from collections.abc import Iterable
from copy import copy
from dataclasses import replace

from django.core.exceptions import ValidationError
from django.utils.translation import gettext_noop as _

from deploy_manager.inventories.found import FoundServer, Inventory
from deploy_manager.inventory.changes import (
    CHANGED,
    NEW,
    REFUSED,
    UNCHANGED,
    Change,
    Plan,
    Planned,
    Wanted,
)
from deploy_manager.inventory.gateways import with_gateways
from deploy_manager.inventory.placing import plan_places
from deploy_manager.messages import Message, join
from deploy_manager.models import Server
from deploy_manager.models.rights import Right

FIELDS = ("connection", "address", "port", "user")
"""What a file may say of a server, besides its gateway."""

WHERE = frozenset({"address", "port", "gateway", "connection"})
"""What says which machine a server is."""

KEY_STAYS = Message(
    _(
        "The pinned host key stays: if this is another machine, it is refused until its key is"
        " confirmed."
    )
)


NOT_YOURS = Message(_("A server of this name exists, and you may not change it."))
NOT_THROUGH = Message(_("You may not use its gateway: that needs a right on that server."))


def plan_import(inventory: Inventory, wanted: Wanted) -> Plan:
    """Return what an import would do. One server that can't be taken stops no other."""
    known = {server.name: server for server in Server.objects.select_related("gateway")}
    # What one may not see is neither a gateway nor gone: only its name is taken.
    seen = {name: row for name, row in known.items() if wanted.may(Right.VIEW_SERVER, row)}
    planned = with_gateways(list(_compare_each(inventory.servers, known, wanted)), seen)
    planned = [_settle(_check_gateway(each, known, wanted), known) for each in planned]
    if wanted.environment is not None:
        planned = plan_places(planned, wanted, wanted.environment)
    names = {each.name for each in inventory.servers}
    gone = tuple(name for name in seen if name not in names)
    return Plan(wanted, inventory, tuple(planned), gone)


def _check_gateway(planned: Planned, known: dict[str, Server], wanted: Wanted) -> Planned:
    """Refuse a new gateway that may not be used; what goes through it already may stay."""
    row, gateway = known.get(planned.name), known.get(planned.gateway)
    is_new = gateway is not None and (row is None or row.gateway != gateway)
    if planned.state == REFUSED or not is_new or wanted.may(Right.USE_SERVER, gateway):
        return planned
    return replace(planned, state=REFUSED, why=NOT_THROUGH)


def _compare_each(
    found: Iterable[FoundServer], known: dict[str, Server], wanted: Wanted
) -> Iterable[Planned]:
    seen: dict[str, FoundServer] = {}
    for each in found:
        if (first := seen.setdefault(each.name, each)) is not each:
            why = Message(_("The file has this name before, in %(where)s."), where=first.where)
            yield Planned(each, REFUSED, why=why)
            continue
        row = known.get(each.name)
        if row is not None and not wanted.may(Right.CHANGE_SERVER, row):
            yield Planned(each, REFUSED, why=NOT_YOURS)
            continue
        server = copy(row) if row else Server(name=each.name)
        _fill(server, each, wanted)
        why = _why_invalid(server)
        yield Planned(each, REFUSED if why else UNCHANGED, server, why=why)


def _fill(server: Server, found: FoundServer, wanted: Wanted) -> None:
    """Give a row what the file says; what it does not say stays, and a new one gets defaults."""
    if found.connection:
        server.connection = found.connection
    if server.is_local:
        return
    server.address = found.address or server.address
    server.port = found.port or server.port
    server.user = found.user or server.user or wanted.user


def _why_invalid(server: Server) -> Message:
    """Return what the model itself says against a row; blank: nothing."""
    if not server.is_local and not server.user:
        return Message(_("The file names no user for it: say whom to log in as."))
    try:
        server.clean_fields(exclude={"gateway", "host_key"})
        # Django asks the database for each constraint of each row. Those of a server are about
        # what is missing, and the database checks them once more.
        if not (server.is_local or server.address):
            server.validate_constraints()
    except ValidationError as error:
        return join(
            (
                Message("%(field)s: %(why)s", field=_label(name), why=_as_message(each))
                for name, errors in error.error_dict.items()
                for each in errors
            ),
            " ",
        )
    return Message()


def _label(name: str) -> Message:
    known = {each.name: each.verbose_name for each in Server._meta.fields}
    return Message(known.get(name, name))


def _as_message(error: ValidationError) -> Message:
    return Message(error.message, **(error.params or {}))


def _settle(planned: Planned, known: dict[str, Server]) -> Planned:
    """Say whether a server is new or changed, and in what."""
    server = planned.server
    if planned.state == REFUSED or server is None:
        return planned
    row = known.get(planned.name)
    if row is None:
        return replace(planned, state=NEW)
    changes = tuple(_changes(row, server, planned.gateway))
    is_elsewhere = any(change.field in WHERE for change in changes)
    remarks = (KEY_STAYS,) if is_elsewhere and row.host_key and not server.is_local else ()
    return replace(
        planned, state=CHANGED if changes else UNCHANGED, changes=changes, remarks=remarks
    )


def _changes(row: Server, server: Server, gateway: str) -> Iterable[Change]:
    for field in FIELDS:
        before, after = str(getattr(row, field)), str(getattr(server, field))
        if before != after:
            yield Change(field, before, after)
    before = row.gateway.name if row.gateway else ""
    if before != gateway and not server.is_local:
        yield Change("gateway", before, gateway)
