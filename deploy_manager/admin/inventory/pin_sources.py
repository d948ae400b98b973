"""At a glance on an environment's page: where what serves, is listed and is installed differ."""

from collections.abc import Iterable, Sequence
from urllib.parse import urlencode

from django.template.loader import render_to_string
from django.urls import reverse
from django.utils.html import format_html
from django.utils.safestring import SafeString

from deploy_manager.exceptions import PinError
from deploy_manager.models import Environment, Override, Placement
from deploy_manager.packages.pin_sources import PinSources, pin_sources

NONE = "\N{EN DASH}"
"""In the place of a version that is not there."""

MOST_NAMES = 5
"""That a line tells; the others are counted."""


def describe_pin_sources(environment: Environment) -> SafeString:
    """Return a line for each two of them, with counts, names and links."""
    try:
        found = pin_sources(environment)
    except PinError as error:
        return format_html('<span class="dm-warn">{}</span>', error)
    moves = found.moves
    context = {
        "found": found,
        "moves": _few([f"{one.name} {one.before or NONE} → {one.after or NONE}" for one in moves]),
        "changed": _few([f"{name} ({_on(where)})" for name, where in found.changed.items()]),
        "unlisted": _few([f"{one.name} ({_on(one.deviations)})" for one in found.unlisted]),
        "unseen": _on(found.unseen),
        "overrides": _overrides(environment),
        **_links(environment, found),
    }
    return render_to_string("admin/deploy_manager/environment/pin_sources.html", context)


def _overrides(environment: Environment) -> Sequence[Override]:
    """What is held now; where the environment lists its pins, nothing is."""
    if environment.pins_from != Environment.PinsFrom.COMMIT:
        return ()
    return list(environment.overrides.live())


def _links(environment: Environment, found: PinSources) -> dict[str, str]:
    name = "admin:deploy_manager_"
    only = {"environment": environment.pk, "only": "drift"}
    listed = {"environment__id__exact": environment.pk}
    return {
        "drift_url": f"{reverse(f'{name}installedpackage_changelist')}?{urlencode(only)}",
        "listed_url": f"{reverse(f'{name}requirement_changelist')}?{urlencode(listed)}",
        "serving_url": reverse(f"{name}release_change", args=[found.serving.pk])
        if found.serving
        else "",
    }


def _on(placements: Iterable[Placement]) -> str:
    return _few([placement.server.name for placement in placements])


def _few(names: Sequence[str]) -> str:
    return ", ".join(names[:MOST_NAMES]) + (" …" if len(names) > MOST_NAMES else "")
