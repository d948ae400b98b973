"""The release that the servers of an environment serve, in one line."""

from collections import Counter

from django.utils.html import format_html, format_html_join
from django.utils.safestring import SafeString
from django.utils.translation import gettext as _

from deploy_manager.admin.badges import short_commit, short_time
from deploy_manager.models import Environment, Release


def describe_live_releases(environment: Environment) -> SafeString | str:
    """Return one commit and since when, or the counts if it is mixed. Uses what is prefetched."""
    placements = list(environment.placements.all())
    releases = [placement.active_release for placement in placements]
    unique = set(releases)
    if unique <= {None}:
        return format_html('<span class="dm-quiet">{}</span>', _("nothing yet"))
    if len(unique) == 1 and releases[0] is not None:
        # Since the first of the servers serves it, which may be long after it was built.
        since = min(filter(None, (each.activated_at for each in placements)), default=None)
        return format_html(
            '{} <span class="dm-quiet">{}</span>',
            short_commit(releases[0].commit),
            short_time(since),
        )
    return format_html(
        '<strong class="dm-mixed">{}</strong> {}',
        _("mixed"),
        format_html_join(", ", "{}", ((part,) for part in _count(releases))),
    )


def _count(releases: list[Release | None]) -> list[SafeString]:
    """Return each release with its number of servers, the most common first.

    A release is shown by its commit, with its name if several of them have the same commit.
    """
    commits = Counter(release.commit for release in set(releases) if release)
    labels = []
    for release in releases:
        label: SafeString | str = short_commit(release.commit) if release else _("nothing")
        if release and commits[release.commit] > 1:
            label = format_html("{} <code>{}</code>", label, release.name)
        labels.append(label)
    return [
        format_html(_("{} on {}"), label, count) for label, count in Counter(labels).most_common()
    ]
