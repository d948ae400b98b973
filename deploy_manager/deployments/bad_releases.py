"""Bad releases: marked on an environment, and deployed again only by a person who chooses to."""

from django.db.models import Q
from django.utils import timezone
from django.utils.translation import gettext_noop as _

from deploy_manager.exceptions import LeftAlone
from deploy_manager.messages import Message
from deploy_manager.models import Deployment, Environment, Release, State

AUTOMATIC = ("schedule", "policy", "webhook")
"""Sources through which no person sees what is about to be deployed."""


def is_automatic(deployment: Deployment) -> bool:
    """Whether no person saw what it deploys."""
    return deployment.schedule_id is not None or deployment.source in AUTOMATIC


def find_mark(environment: Environment, commit: str, digest: str) -> Release | None:
    """Return the release that marks this commit with these pins as bad here; None: they are good.

    A later success of the same commit and pins overrules the mark. If only the pins differ the code
    is to blame, so other pins do not make it good; unless the commit succeeded with other pins than
    the bad ones: then the pins are to blame.
    """
    marked = environment.releases.exclude(bad_since=None).filter(commit=commit)
    for release in marked.select_related("lock").order_by("-bad_since", "-pk"):
        if not _is_overruled(release, digest):
            return release
    return None


def _is_overruled(marked: Release, digest: str) -> bool:
    succeeded = Deployment.objects.filter(
        state=State.SUCCEEDED,
        release__environment=marked.environment_id,
        release__commit=marked.commit,
        release__bad_since=None,
    )
    # By digest, since the pins at hand may be in no lock file yet.
    proof = Q(release__lock__digest=digest, finished_at__gt=marked.bad_since)
    if marked.lock.digest != digest:
        proof |= ~Q(release__lock=marked.lock)
    return succeeded.filter(proof).exists()


def refuse_marked(environment: Environment, commit: str, digest: str) -> None:
    """Raise LeftAlone if this is marked as bad: an automatic source does not deploy it."""
    if release := find_mark(environment, commit, digest):
        raise LeftAlone(_("Skipped: %(mark)s"), mark=describe_mark(release))


def describe_mark(release: Release) -> Message:
    """Return what is marked as bad, since when and why: of a release that has a mark."""
    since = (release.bad_since or timezone.now()).astimezone(release.environment.zone)
    return Message(
        _("commit %(commit)s has been marked as bad on %(site)s since %(since)s: %(reason)s"),
        commit=release.commit[:8],
        site=release.environment,
        since=f"{since:%Y-%m-%d %H:%M %Z}",
        reason=release.bad_reason or Message(_("no reason was given.")),
    )
