"""The differences between serving, listed and installed pins, on an environment's page."""

from collections.abc import Iterable, Mapping
from urllib.parse import urlencode

from django.template.loader import render_to_string
from django.urls import reverse
from django.utils.html import format_html
from django.utils.safestring import SafeString

from deploy_manager.admin.badges import NONE, few
from deploy_manager.exceptions import PinError
from deploy_manager.models import Environment, Placement
from deploy_manager.packages.pin_sources import pin_sources

MOST_NAMES = 5
"""Names in a line; its bold text counts all of them."""


def describe_pin_sources(environment: Environment) -> SafeString:
    """Return a line for each comparison, with counts, names and links."""
    try:
        found = pin_sources(environment)
    except PinError as error:
        return format_html('<span class="dm-warn">{}</span>', error)
    moves = [f"{one.name} {one.before or NONE} → {one.after or NONE}" for one in found.moves]
    changed = [f"{name} ({_servers(where)})" for name, where in found.changed.items()]
    unlisted = [f"{one.name} ({_servers(one.deviations)})" for one in found.unlisted]
    # An environment that lists its own pins has no overrides: the list itself was changed.
    takes_commit = environment.pins_from == Environment.PinsFrom.COMMIT
    drift = {"environment": environment.pk, "only": "drift"}
    listed = {"environment__id__exact": environment.pk}
    context = {
        "found": found,
        "moves": few(moves, MOST_NAMES),
        "changed": few(changed, MOST_NAMES),
        "unlisted": few(unlisted, MOST_NAMES),
        "unseen": _servers(found.unseen),
        "overrides": list(environment.overrides.live()) if takes_commit else (),
        "drift_url": _url("installedpackage_changelist", drift),
        "listed_url": _url("requirement_changelist", listed),
        "serving_url": _url("release_change", pk=found.serving.pk) if found.serving else "",
    }
    return render_to_string("admin/deploy_manager/environment/pin_sources.html", context)


def _url(page: str, query: Mapping[str, object] | None = None, pk: int | None = None) -> str:
    address = reverse(f"admin:deploy_manager_{page}", args=[] if pk is None else [pk])
    return f"{address}?{urlencode(query)}" if query else address


def _servers(placements: Iterable[Placement]) -> str:
    return few([placement.server.name for placement in placements], MOST_NAMES)
