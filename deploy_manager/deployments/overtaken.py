"""Deployments that waited while others changed what serves: they take nothing back unseen."""

from datetime import datetime

from django.db.models import Q
from django.utils.translation import gettext_noop as _

from deploy_manager.deployments.bad_releases import describe_mark, find_mark, is_automatic
from deploy_manager.deployments.choices import converge
from deploy_manager.deployments.pushed import SOURCE
from deploy_manager.exceptions import CodeError, LeftAlone, RequestRefused
from deploy_manager.messages import Message, few
from deploy_manager.models import Deployment, Environment, HostRun, Release, State, Step
from deploy_manager.models.deployments import DEPLOY, ROLLBACK, UPGRADE
from deploy_manager.models.runs import ACTIVATE
from deploy_manager.packages.repository import mirror_of


def refuse_to_go_back(deployment: Deployment, release: Release | None, commit: str = "") -> None:
    """Raise RequestRefused if this would take back what came to serve after it was requested.

    `release` is an existing one, or None for a `commit` whose pins are judged by themselves. What
    the servers served at the time of the request was shown, and may be taken back.
    """
    if not Step.objects.filter(host_run__deployment=deployment, recipe=ACTIVATE).exists():
        return
    runs = deployment.host_runs.exclude(placement=None).order_by("pk")
    overtaken: dict[Release, list[str]] = {}
    for run in runs.select_related("placement__active_release", "release_when_requested"):
        now = run.placement.active_release if run.placement else None
        shown = run.release_when_requested
        if now in (None, shown) or _is_kept(deployment, release, commit, now, shown):
            continue
        overtaken.setdefault(now, []).append(run.server_name)
    if not overtaken:
        return
    now, servers = max(overtaken.items(), key=lambda each: len(each[1]))
    raise RequestRefused(
        _(
            "Since this was requested, another release was deployed on %(servers)s: %(release)s"
            " (%(subject)s). This would take it back, which nobody was shown. Look at what would"
            " change, and request it again: %(how)s."
        ),
        servers=few(servers),
        release=now.name,
        subject=now.subject or now.commit[:8],
        how=_how(deployment, release, commit),
    )


def refuse_what_turned_out_bad(
    deployment: Deployment, commit: str, digest: str, release: Release | None = None
) -> None:
    """Raise RequestRefused if this was marked as bad, or rolled back, after it was requested.

    What was marked before was shown, so that a person who requested it has chosen it. Automatic
    sources choose nothing: whatever is marked is refused to them elsewhere.
    """
    if deployment.source == SOURCE:
        # A push chooses nothing, so it does not matter either whether that was before the request.
        if why := _why_rolled_back(deployment, commit, digest, since=None):
            raise LeftAlone(_("Skipped: %(why)s"), why=why)
        return
    if is_automatic(deployment):
        return
    if deployment.recipe == UPGRADE:
        # It brings other pins to code that serves already, whatever is said of that code.
        mark = release if release and release.bad_since else None
    else:
        mark = find_mark(deployment.environment, commit, digest)
    if mark and mark.bad_since and mark.bad_since > deployment.created_at:
        why = describe_mark(mark)
    else:
        why = _why_rolled_back(deployment, commit, digest, since=deployment.created_at)
    if why:
        raise RequestRefused(
            _(
                "Since this was requested, it turned out to be bad: %(why)s\nIf you want it all the"
                " same, request it again: %(how)s."
            ),
            why=why,
            how=_how(deployment, release, commit),
        )


def _why_rolled_back(
    waited: Deployment, commit: str, digest: str, *, since: datetime | None
) -> Message:
    """Say who returned from this commit with these pins since then, or ever; blank: nobody did.

    A later success with the same commit and pins overrules it, as it does a mark.
    """
    # Not a host that failed with this rollback and went back: it serves what it was to leave.
    people_left = Q(
        deployment__recipe=ROLLBACK,
        was_switched=True,
        release_before__commit=commit,
        release_before__lock__digest=digest,
    ) & ~Q(state=State.ROLLED_BACK)
    it_failed = Q(
        state=State.ROLLED_BACK,
        deployment__release__commit=commit,
        deployment__release__lock__digest=digest,
    )
    runs = HostRun.objects.filter(
        people_left | it_failed,
        deployment__environment=waited.environment_id,
        finished_at__isnull=False,
    )
    if since is not None:
        runs = runs.filter(finished_at__gt=since)
    last = runs.select_related("deployment__environment").order_by("-finished_at", "-pk").first()
    if last is None or last.finished_at is None:
        return Message()
    succeeded = Deployment.objects.filter(
        state=State.SUCCEEDED,
        environment=waited.environment_id,
        release__commit=commit,
        release__lock__digest=digest,
        finished_at__gt=last.finished_at,
    )
    if succeeded.exists():
        return Message()
    by = last.deployment
    said = last.message if last.state == State.ROLLED_BACK else by.reason
    return Message(
        _("%(servers)s returned from it with %(deployment)s by %(who)s: %(reason)s"),
        servers=few(
            list(runs.filter(deployment=by).order_by("pk").values_list("server_name", flat=True))
        ),
        deployment=by,
        who=by.requested_by_name,
        reason=said or Message(_("no reason was given.")),
    )


def refuse_another_model(deployment: Deployment, release: Release) -> None:
    """Raise RequestRefused if a converge would not make its servers like the others any more."""
    runs = deployment.host_runs.exclude(placement=None).order_by("pk")
    servers = list(runs.values_list("server_name", flat=True))
    now = converge(deployment.environment, servers).release
    if now is None or now == release:
        return
    raise RequestRefused(
        _(
            "Since this was requested, the other servers came to serve another release: %(release)s"
            " (%(subject)s). Make %(servers)s like them: %(how)s."
        ),
        servers=few(servers),
        release=now.name,
        subject=now.subject or now.commit[:8],
        how=f"manage.py converge {deployment.environment} {' '.join(servers)}",
    )


def _is_kept(
    deployment: Deployment,
    release: Release | None,
    commit: str,
    now: Release,
    shown: Release | None,
) -> bool:
    """Whether the code and the pins that serve now are not taken back, or were when it was shown.

    Pins are compared for what nothing else judges: a rollback or an upgrade is shown as a whole.
    """
    known = {each.lock_id for each in (release, shown) if each}
    if release and deployment.recipe in (ROLLBACK, UPGRADE) and now.lock_id not in known:
        return False
    commit = release.commit if release else commit
    if now.commit == commit or (shown is not None and shown.commit == now.commit):
        return True
    return _contains(deployment.environment, commit, now.commit)


def _contains(environment: Environment, commit: str, other: str) -> bool:
    """Whether one commit has another in its history; False if that can't be found out."""
    mirror = mirror_of(environment.project)
    try:
        return not mirror.log(commit, other, limit=1)
    except CodeError:
        pass  # this machine's mirror may not have both of them yet
    try:
        mirror.update()
        return not mirror.log(commit, other, limit=1)
    except CodeError:
        return False


def _how(deployment: Deployment, release: Release | None, commit: str) -> str | Message:
    site = deployment.environment
    if release and deployment.recipe == ROLLBACK:
        return f"manage.py rollback {site} --to {release.name}"
    if deployment.recipe == DEPLOY:
        return f"manage.py deploy {site} --ref {release.commit if release else commit}"
    return Message(_("on the environment's page, or with manage.py"))
