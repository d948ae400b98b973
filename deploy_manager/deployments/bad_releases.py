"""What is marked as bad on an environment: nothing takes it but a person who says so."""

from django.db.models import Q
from django.utils import timezone
from django.utils.translation import gettext as _

from deploy_manager.exceptions import LeftAlone
from deploy_manager.models import Deployment, Environment, Release, State

AUTOMATIC = ("schedule", "policy")
"""Through which nobody looks at what is about to be deployed."""


def is_automatic(deployment: Deployment) -> bool:
    """Whether nobody looked at what it deploys."""
    return deployment.schedule_id is not None or deployment.source in AUTOMATIC


def find_mark(environment: Environment, commit: str, digest: str) -> Release | None:
    """Return the release by which this commit with these pins is marked as bad here; None: good.

    The last word counts: whoever deployed the same commit and pins with success after the mark has
    overruled it. Where only the pins differ the code is to blame, so no other pins mend it; unless
    the commit came through under other pins than the bad ones: then those are.
    """
    marked = environment.releases.exclude(bad_since=None).filter(commit=commit)
    for release in marked.select_related("lock").order_by("-bad_since", "-pk"):
        if not _is_overruled(release, digest):
            return release
    return None


def _is_overruled(marked: Release, digest: str) -> bool:
    came_through = Deployment.objects.filter(
        state=State.SUCCEEDED,
        release__environment=marked.environment_id,
        release__commit=marked.commit,
        release__bad_since=None,
    )
    proof = Q(release__lock__digest=digest, finished_at__gt=marked.bad_since)
    if marked.lock.digest != digest:
        proof |= ~Q(release__lock=marked.lock)
    return came_through.filter(proof).exists()


def refuse_marked(environment: Environment, commit: str, digest: str) -> None:
    """Raise LeftAlone for what is marked as bad: an automatic source does not take it."""
    if release := find_mark(environment, commit, digest):
        raise LeftAlone(_("Skipped: %(mark)s") % {"mark": describe_mark(release)})


def describe_mark(release: Release) -> str:
    """Say what is marked as bad, since when and why."""
    since = timezone.localtime(release.bad_since)
    text = _("commit %(commit)s is marked as bad on %(site)s since %(since)s: %(reason)s")
    return text % {
        "commit": release.commit[:8],
        "site": release.environment,
        "since": f"{since:%Y-%m-%d %H:%M %Z}",
        "reason": release.bad_reason or _("no reason was given."),
    }
