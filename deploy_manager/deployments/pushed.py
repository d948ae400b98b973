"""What a worker asks of a pushed commit before any server is touched."""

from django.utils.translation import gettext_noop as _

from deploy_manager.exceptions import CodeError, InvalidRow, LeftAlone
from deploy_manager.models import Deployment, Environment, Release
from deploy_manager.packages.repository import mirror_of

SOURCE = "webhook"


def refuse_what_is_behind(deployment: Deployment, commit: str) -> None:
    """Raise LeftAlone if a pushed commit is not on its branch any more, or older than what serves.

    Deliveries of a forge arrive in any order, so one that was requested later may be older.
    The mirror was fetched just now.
    """
    if deployment.source != SOURCE:
        return
    site = deployment.environment
    if deployment.ref != site.ref:
        raise LeftAlone(
            _("Skipped: %(site)s does not follow the branch %(branch)s any more."),
            site=site,
            branch=deployment.ref,
        )
    mirror = mirror_of(site.project)
    head = mirror.resolve(f"heads/{deployment.ref}").hash
    if mirror.log(head, commit, limit=1):
        raise LeftAlone(
            _("Skipped: %(commit)s is not on the branch %(branch)s any more."),
            commit=commit[:8],
            branch=deployment.ref,
        )
    for serving in _serving(deployment):
        if serving.commit != commit and is_known_to_contain(site, serving.commit, commit):
            raise LeftAlone(
                _(
                    "Skipped: %(commit)s is older than what serves, %(release)s (%(subject)s). A"
                    " push takes no code back: roll back, or deploy it yourself."
                ),
                commit=commit[:8],
                release=serving.name,
                subject=serving.subject or serving.commit[:8],
            )


def _serving(deployment: Deployment) -> list[Release]:
    runs = deployment.host_runs.exclude(placement__active_release=None)
    found = runs.values_list("placement__active_release", flat=True)
    return list(Release.objects.filter(pk__in=set(found)).order_by("pk"))


def is_known_to_contain(site: Environment, commit: str, other: str) -> bool:
    """Whether a commit has another in its history, as far as the mirror here knows; no fetch."""
    try:
        return not mirror_of(site.project).log(commit, other, limit=1)
    except (CodeError, InvalidRow, OSError):
        return False
