"""What the servers of an environment serve now, in one line."""

from collections import Counter

from django.utils.html import format_html, format_html_join
from django.utils.safestring import SafeString
from django.utils.translation import gettext as _

from deploy_manager.admin.badges import short_commit, short_time
from deploy_manager.models import Environment, Release


def describe_live_releases(environment: Environment) -> SafeString | str:
    """One commit and since when, or said to be mixed. Asks nothing that is prefetched."""
    releases = [placement.active_release for placement in environment.placements.all()]
    unique = set(releases)
    if unique <= {None}:
        return format_html('<span class="dm-quiet">{}</span>', _("nothing yet"))
    if len(unique) == 1 and releases[0] is not None:
        return _describe(releases[0])
    return format_html(
        '<strong class="dm-mixed">{}</strong> {}',
        _("mixed"),
        format_html_join(", ", "{}", ((part,) for part in _count(releases))),
    )


def _describe(release: Release) -> SafeString:
    return format_html(
        '{} <span class="dm-quiet">{}</span>',
        short_commit(release.commit),
        short_time(release.created_at),
    )


def _count(releases: list[Release | None]) -> list[SafeString]:
    """Each commit with the number of servers that serve it, the most common first."""
    labels = [short_commit(entry.commit) if entry else _("nothing") for entry in releases]
    return [
        format_html(_("{} on {}"), label, count) for label, count in Counter(labels).most_common()
    ]
