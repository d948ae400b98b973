"""Write what an import was seen to do: all of it in one transaction, or nothing."""

from collections.abc import Iterable
from typing import Any

from django.db import IntegrityError, transaction
from django.db.models import F, QuerySet
from django.utils.translation import gettext_noop as _

from deploy_manager.auditing import note_added, noting
from deploy_manager.exceptions import RequestRefused
from deploy_manager.inventories.found import Inventory
from deploy_manager.inventory.changes import CHANGED, NEW, Plan, Planned, Wanted
from deploy_manager.inventory.comparing import FIELDS, plan_import
from deploy_manager.models import Environment, Placement, Server


class ImportChanged(RequestRefused):
    """Servers were changed since the preview: what it would do now has to be shown again."""

    code = RequestRefused.code


def write_import(inventory: Inventory, wanted: Wanted, digest: str) -> Plan:
    """Write an import whose plan had this digest; return what was written.

    Raises ImportChanged if it would do anything else by now: nothing is written then.
    """
    try:
        with transaction.atomic():
            _lock(inventory, wanted.environment)
            plan = plan_import(inventory, wanted)
            if plan.digest != digest:
                raise ImportChanged(CHANGED_MEANWHILE)
            _write_servers(plan.planned)
            if wanted.environment is not None:
                _write_places(plan.placed, wanted.environment)
            return plan
    except IntegrityError:
        # Somebody wrote a server of the same name, or deleted a gateway, at the same moment.
        raise ImportChanged(CHANGED_MEANWHILE) from None


CHANGED_MEANWHILE = _("Servers were changed in the meantime: look at the preview again.")


def _lock(inventory: Inventory, environment: Environment | None) -> None:
    """Let nobody change the rows until the transaction ends; on SQLite, any row at all."""
    names = [server.name for server in inventory.servers]
    # By an UPDATE, since SQLite has no SELECT … FOR UPDATE; few at a time, as it takes few values.
    for start in range(0, max(len(names), 1), 500):
        Server.objects.filter(name__in=names[start : start + 500]).update(name=F("name"))
    if environment is not None:
        Environment.objects.lock(environment.pk)


def _write_servers(planned: Iterable[Planned]) -> None:
    written = [each for each in planned if each.is_written and each.server is not None]
    new = [each.server for each in written if each.state == NEW and each.server]
    changed = [each.server for each in written if each.state == CHANGED and each.server]
    Server.objects.bulk_create(new, batch_size=500)
    # Without the gateways, which may be among the new ones: now that all have keys, with them.
    keys = dict(Server.objects.values_list("name", "pk"))
    for each in written:
        if each.server is not None:
            each.server.gateway_id = keys[each.gateway] if each.gateway else None
    through = [each.server for each in written if each.state == NEW and each.gateway]
    Server.objects.bulk_update([each for each in through if each], ["gateway"], batch_size=500)
    # It moves placements as saving each would, but all at once; see models/places.py.
    with noting(_rows(Server, changed)):
        Server.objects.bulk_update(changed, [*FIELDS, "gateway"], batch_size=500)
    note_added(_rows(Server, new).select_related("gateway"))


def _rows(model: type[Any], written: Iterable[Any]) -> QuerySet[Any]:
    keys = [each.pk for each in written if each]
    found: QuerySet[Any] = model.objects.filter(pk__in=keys).order_by("pk")
    return found


def _write_places(placed: Iterable[Planned], environment: Environment) -> None:
    keys = dict(Server.objects.values_list("name", "pk"))
    new, changed = [], []
    for each in placed:
        place = each.place
        if place is None:
            continue
        if place.row is not None:
            place.row.roles = list(place.roles)
            changed.append(place.row)
        else:
            row = Placement(
                environment=environment,
                server_id=keys[each.name],
                roles=list(place.roles),
                order=place.order or 1,
            )
            row.clean_fields(exclude={"environment", "server"})
            new.append(row)
    Placement.objects.bulk_create(new, batch_size=500)
    with noting(_rows(Placement, changed).select_related("environment__project", "server")):
        Placement.objects.bulk_update(changed, ["roles"], batch_size=500)
    note_added(_rows(Placement, new).select_related("environment__project", "server"))
