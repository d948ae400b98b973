"""The release that the servers of an environment serve, in one line."""

from collections import Counter

from django.utils.html import format_html, format_html_join
from django.utils.safestring import SafeString
from django.utils.translation import gettext as _

from deploy_manager.admin.badges import short_commit, short_time
from deploy_manager.models import Environment, Placement


def describe_live_releases(environment: Environment) -> SafeString | str:
    """Return one commit and since when, or the counts if it is mixed. Uses what is prefetched."""
    placements = [each for each in environment.placements.all() if each.has_code]
    releases = [placement.active_release for placement in placements]
    unique = set(releases)
    is_unknown = any(each.is_unknown for each in placements)
    if unique <= {None}:
        words = _("unknown until it is seen") if is_unknown else _("nothing yet")
        return format_html('<span class="dm-quiet">{}</span>', words)
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
        format_html_join(", ", "{}", ((part,) for part in _count(placements))),
    )


def _count(placements: list[Placement]) -> list[SafeString]:
    """Return each release with its number of servers, the most common first.

    A release is shown by its commit, with its name if several of them have the same commit.
    """
    releases = [placement.active_release for placement in placements]
    commits = Counter(release.commit for release in set(releases) if release)
    labels = []
    for placement, release in zip(placements, releases, strict=True):
        nothing = _("unknown") if placement.is_unknown else _("nothing")
        label: SafeString | str = short_commit(release.commit) if release else nothing
        if release and commits[release.commit] > 1:
            label = format_html("{} <code>{}</code>", label, release.name)
        labels.append(label)
    return [
        format_html(_("{} on {}"), label, count) for label, count in Counter(labels).most_common()
    ]
