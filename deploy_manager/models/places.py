"""Places: on which account and in which folder a placement is, and what was seen elsewhere.

What was seen on a server is kept with the place where it was seen. A placement is moved by its own
row, by that of its server or by that of its environment, so each of these forgets what was seen
elsewhere; `reconcile` does it, too, for rows that were written around the models.
"""

from collections.abc import Iterable
from typing import Any, TypeVar

from django.apps import apps
from django.db import models, transaction
from django.db.models import Case, F, OuterRef, Q, Subquery, Value, When
from django.db.models.functions import Cast, Coalesce, Concat, Now, NullIf

from deploy_manager.models.moments import MomentField

Row = TypeVar("Row", bound=models.Model)

MOVE = frozenset(
    {
        *("server", "server_id", "environment", "environment_id", "own_deploy_path"),
        *("connection", "address", "port", "user", "gateway", "gateway_id"),
        "deploy_path",
    }
)
"""Fields of placements, servers and environments by which placements are moved."""

SEEN = (
    *("active_release", "activated_at", "complete_releases", "seen_at"),
    *("inventory_at", "inventory_problem"),
    *("implementation", "python_version", "platform", "libc"),
)
"""Fields of a placement that hold what was seen there."""

WAS_SEEN = (
    Q(active_release__isnull=False)
    | Q(seen_at__isnull=False)
    | Q(inventory_at__isnull=False)
    | ~Q(complete_releases=[])
)


class MovingQuerySet(models.QuerySet[Row]):
    """An UPDATE of many rows moves placements as well as one of a single row does."""

    def update(self, **values: Any) -> int:
        if MOVE.isdisjoint(values):
            return super().update(**values)
        with transaction.atomic():
            changed = super().update(**values)
            forget_moved()
        return changed

    # As Django's own has it, which this one hides: templates must not call it.
    update.alters_data = True  # type: ignore[attr-defined]


class Moving(models.Model):
    """A row that says where placements are."""

    class Meta:
        abstract = True

    def save(self, *args: Any, **options: Any) -> None:
        with transaction.atomic():
            super().save(*args, **options)
            forget_moved()


def here() -> Concat:
    """Return where a placement is now, as an expression; see Placement.place.

    A gateway counts as a server, whatever its address is: replaced, it leads to the same machine,
    which proves that by its own pinned host key.
    """
    # By name, since the models of all three import this file.
    environments, servers = (
        apps.get_model("deploy_manager", name)._base_manager for name in ("Environment", "Server")
    )
    text = models.TextField()
    gateway = Coalesce(Cast("gateway", text), Value(""), output_field=text)
    over_ssh = Concat(
        *("user", Value("@"), "address", Value(":"), Cast("port", text)),
        *(Value(" by "), gateway),
        output_field=text,
    )
    local = When(connection="local", then=Value("local"))
    account = Case(local, default=over_ssh, output_field=text)
    server = servers.filter(pk=OuterRef("server")).annotate(account=account).values("account")
    environment = environments.filter(pk=OuterRef("environment")).values("deploy_path")
    path = Coalesce(NullIf("own_deploy_path", Value("")), Subquery(environment), output_field=text)
    return Concat(Subquery(server), Value(" "), path, output_field=text)


def forget_moved(which: int | Iterable[int] | None = None) -> int:
    """Forget what was seen of placements where they are no more; return how many there were.

    By default all placements are looked at; else the one, or those, with these keys.
    """
    placements = apps.get_model("deploy_manager", "Placement").objects.order_by()
    if which is not None:
        placements = placements.filter(pk__in=[which] if isinstance(which, int) else list(which))
    # A thousand rows are written before anything is seen: this is a tenth of what follows.
    if not placements.filter(WAS_SEEN).exists():
        return 0
    # What was written without a place was seen where the row says.
    placements.filter(WAS_SEEN, seen_in="").update(seen_in=here())
    moved = placements.moved()
    # As a list: after the UPDATE below none of them counts as moved any more.
    keys = list(moved.values_list("pk", flat=True))
    if not keys:
        return 0
    served = Q(active_release__isnull=False) | Q(seen_at__isnull=False)
    with transaction.atomic():
        forgotten = moved.filter(pk__in=keys).update(
            seen_in="",
            moved_at=Case(
                When(served, then=Now()), default=F("moved_at"), output_field=MomentField()
            ),
            active_release=None,
            activated_at=None,
            complete_releases=[],
            seen_at=None,
            inventory_at=None,
            # So that the new place is asked at once.
            inventory_tried_at=None,
            inventory_problem="",
            implementation="",
            python_version="",
            platform="",
            libc="",
        )
        installed = apps.get_model("deploy_manager", "InstalledPackage").objects
        watches = apps.get_model("deploy_manager", "Watch").objects
        # Not of those that another process has seen again in between.
        for seen in (installed, watches):
            seen.filter(placement__in=keys, placement__seen_in="").delete()
    return int(forgotten)
