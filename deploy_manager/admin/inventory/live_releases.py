"""What the servers of an environment serve now, in one line."""

from collections import Counter
from collections.abc import Mapping, Sequence
from datetime import datetime

from django.utils.html import format_html, format_html_join
from django.utils.safestring import SafeString
from django.utils.translation import gettext as _

from deploy_manager.admin.badges import short_commit, short_time
from deploy_manager.models import Environment, Release


def describe_live_releases(environment: Environment) -> SafeString | str:
    """One commit and since when, or said to be mixed. Asks nothing that is prefetched."""
    placements = list(environment.placements.all())
    releases = [placement.active_release for placement in placements]
    unique = set(releases)
    if unique <= {None}:
        return format_html('<span class="dm-quiet">{}</span>', _("nothing yet"))
    if len(unique) == 1 and releases[0] is not None:
        return _describe(releases[0], [each.activated_at for each in placements])
    return format_html(
        '<strong class="dm-mixed">{}</strong> {}',
        _("mixed"),
        format_html_join(", ", "{}", ((part,) for part in _count(releases))),
    )


def _describe(release: Release, activated: Sequence[datetime | None]) -> SafeString:
    """Since the first of the servers serves it, which may be long after it was made."""
    return format_html(
        '{} <span class="dm-quiet">{}</span>',
        short_commit(release.commit),
        short_time(min(filter(None, activated), default=None)),
    )


def _count(releases: list[Release | None]) -> list[SafeString]:
    """Each release with the number of servers that serve it, the most common first.

    By its commit, and by its name too where several of them are of one commit.
    """
    commits = Counter(release.commit for release in set(releases) if release)
    labels = [_label(each, commits) if each else _("nothing") for each in releases]
    return [
        format_html(_("{} on {}"), label, count) for label, count in Counter(labels).most_common()
    ]


def _label(release: Release, commits: Mapping[str, int]) -> SafeString:
    commit = short_commit(release.commit)
    if commits[release.commit] == 1:
        return commit
    return format_html("{} <code>{}</code>", commit, release.name)
