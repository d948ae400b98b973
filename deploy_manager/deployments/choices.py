"""Choosing the release and the servers of a rollback, a retry and a converge."""

from collections.abc import Sequence

from django.db.models import Q, QuerySet
from django.utils.translation import gettext_noop as _

from deploy_manager.deployments.comparing import twins_of
from deploy_manager.deployments.request import DeploymentOptions
from deploy_manager.exceptions import RequestRefused
from deploy_manager.messages import Message, few, join
from deploy_manager.models import (
    TO_RETRY,
    Deployment,
    Environment,
    Override,
    Placement,
    Release,
    State,
    Step,
    UpgradeStage,
)
from deploy_manager.models.serving import most_served, served_before, serving_release, unproven
from deploy_manager.packages.downgrades import confirmed_in
from deploy_manager.row_checks import check_row

MOST_NAMED = 5
"""Servers that a refusal names."""


def releases_to_return_to(environment: Environment) -> list[Release]:
    """Return the releases that are complete on every server and do not serve, newest first.

    Bad ones, and ones that never served, are among them: a person may choose one.
    """
    complete = [set(each.complete) for each in environment.placements.all()]
    # Of no sets there is no intersection: Python raises.
    common = set.intersection(*complete) if complete else set()
    serving = serving_release(environment)
    found = environment.releases.filter(name__in=common).select_related("lock")
    return [release for release in found if release != serving]


def choose_release(environment: Environment, name: str = "") -> Release:
    """Return the release a rollback goes to: the named one, or the good one that served before.

    `name` is a release's name, or the beginning of its commit if no other release begins so.
    Raises RequestRefused.
    """
    known = releases_to_return_to(environment)
    if not name:
        found = _served_before(environment, known)
    else:
        found = [each for each in known if each.name == name]
        found = found or [each for each in known if each.commit.startswith(name)]
    if not found:
        raise RequestRefused(_no_release(environment, name, known))
    if name and len(found) > 1:
        twins = twins_of(found)
        lines = [
            Message(
                "- %(release)s: %(twin)s",
                release=each,
                twin=twins[each.pk].describe() if each.pk in twins else each.commit,
            )
            for each in found
        ]
        raise RequestRefused(
            _("Several releases have a commit that begins with %(name)s: name one.\n%(releases)s"),
            name=name,
            releases=Message.lines(*lines),
        )
    return found[0]


def _served_before(environment: Environment, known: Sequence[Release]) -> list[Release]:
    """The good releases that served before the current one, the last of them first."""
    good = {each.pk: each for each in known if each.bad_since is None}
    before = served_before(environment, serving_release(environment))
    return [good[key] for key in before if key in good]


def _no_release(environment: Environment, name: str, known: Sequence[Release]) -> Message:
    lacking = unproven(each.pk for each in known)
    names = join(
        Message(_("%(release)s (bad)"), release=each)
        if each.bad_since
        else Message("%(release)s (%(why)s)", release=each, why=lacking[each.pk])
        if each.pk in lacking
        else str(each)
        for each in known
    )
    words = {"site": environment, "name": name, "known": names or Message(_("none"))}
    if name:
        text = _(
            "No release %(name)s is complete on every server of %(site)s. Available: %(known)s."
        )
    else:
        text = _("%(site)s has no good release before this one. Available: %(known)s.")
    lines = [Message(text, **words)]
    placements = list(_placements(environment))
    if unknown := [each.server.name for each in placements if each.is_unknown]:
        why = _(
            "What %(servers)s serves is unknown since it was moved: run the recipe ping there to"
            " look."
        )
        lines.append(Message(why, servers=", ".join(unknown)))
    wanted = _wanted(environment, name)
    seen = [each for each in placements if not each.is_unknown]
    if wanted and (without := [each for each in seen if wanted.name not in each.complete]):
        why = _(
            "%(release)s is not complete on %(servers)s. To bring it to every server, deploy its"
            " commit: manage.py deploy %(site)s --ref %(commit)s"
        )
        servers = few([each.server.name for each in without], MOST_NAMED)
        told = {"release": wanted, "site": environment, "commit": wanted.commit}
        lines.append(Message(why, servers=servers, **told))
    return Message.lines(*lines)


def _wanted(environment: Environment, name: str) -> Release | None:
    """The release that a rollback would have gone to, if every server had it."""
    if name:
        return environment.releases.filter(Q(name=name) | Q(commit__startswith=name)).first()
    good = {each.pk: each for each in environment.releases.good()}
    before = served_before(environment, serving_release(environment))
    return next((good[key] for key in before if key in good), None)


def _placements(environment: Environment) -> QuerySet[Placement]:
    return environment.placements.select_related("server")


def retry(deployment: Deployment, reason: str = "") -> tuple[str, DeploymentOptions]:
    """Return the recipe and the options that run a deployment again on the servers it missed.

    The same release goes to failed, skipped, cancelled and lost servers only; recipes that run
    once, like migrations, are not run again if they succeeded.
    Servers that left the environment since are left out, and named in the options.
    Raises RequestRefused if there is nothing to retry, or a retry would not do the same.
    """
    if deployment.is_live:
        raise RequestRefused(_("%(deployment)s has not ended yet."), deployment=deployment)
    servers, left = _missed(deployment)
    if not servers and left:
        raise RequestRefused(
            _("The servers on which %(it)s did not succeed are no longer in %(site)s: %(left)s."),
            it=deployment,
            site=deployment.environment,
            left=", ".join(left),
        )
    if not servers:
        raise RequestRefused(_("Every server of %(it)s succeeded."), it=deployment)
    if deployment.release and deployment.release.bad_since:
        raise RequestRefused(
            _("Release %(release)s was marked as bad: deploy a fixed one."),
            release=deployment.release,
        )
    if stage := UpgradeStage.objects.filter(deployment=deployment).first():
        # Its pins hold only as an upgrade's: the next deployment would take them back, unseen.
        raise RequestRefused(
            _("%(deployment)s is part of upgrade %(upgrade)s: request that again."),
            deployment=deployment,
            upgrade=stage.upgrade,
        )
    check_row(deployment, "forced_migrations")
    options = DeploymentOptions(
        ref=deployment.ref,
        commit=deployment.commit,
        release=deployment.release,
        servers=servers,
        left=left,
        reason=reason or deployment.reason,
        forced_migrations=deployment.forced_migrations,
        retry_of=deployment,
        take_back=_still_confirmed(deployment),
        without=_done_once(deployment),
    )
    return deployment.recipe, options


def _missed(deployment: Deployment) -> tuple[list[str], list[str]]:
    """The servers on which it did not succeed: those that are still there, and those that left."""
    known = {each.server.name for each in _placements(deployment.environment)}
    servers: list[str] = []
    left: list[str] = []
    runs = deployment.host_runs.filter(state__in=TO_RETRY).select_related("placement__server")
    for run in runs.order_by("pk"):
        # Renamed since, it is the same server; taken out and added again, it is one of that name.
        name = run.placement.server.name if run.placement else run.server_name
        (servers if name in known else left).append(name)
    return servers, left


def _done_once(deployment: Deployment) -> frozenset[str]:
    """The recipes that run once for all servers and succeeded, as the rows say."""
    done: set[str] = set()
    seen: set[int] = set()
    tried: Deployment | None = deployment
    # A retry of a retry: the first one left out what was done before. No request leads back to
    # itself, but a row may.
    while tried is not None and tried.pk not in seen:
        seen.add(tried.pk)
        once = Step.objects.filter(host_run__deployment=tried, once=True)
        undone = once.exclude(state=State.SUCCEEDED).values("recipe")
        done.update(once.exclude(recipe__in=undone).values_list("recipe", flat=True))
        tried = tried.retry_of
    return frozenset(done)


def _still_confirmed(deployment: Deployment) -> list[dict[str, str]]:
    """The pins confirmed to be taken back then, without those an upgrade has moved since."""
    since = Override.objects.filter(
        environment=deployment.environment, since__gte=deployment.created_at
    )
    anew = set(since.values_list("name", flat=True))
    return [
        {"name": name, "before": before, "after": after}
        for name, before, after in sorted(confirmed_in(deployment.take_back))
        if name not in anew
    ]


def converge(environment: Environment, servers: Sequence[str]) -> DeploymentOptions:
    """Return the options that make servers like the others: the release most of those serve.

    Raises RequestRefused if no other server serves one.
    """
    others = environment.placements.exclude(server__name__in=servers)
    good = others.filter(active_release__bad_since=None)
    release = most_served(good.select_related("active_release__lock"))
    if release is None:
        raise RequestRefused(
            _("No other server of %(site)s serves a release yet: deploy it."), site=environment
        )
    return DeploymentOptions(servers=servers, release=release)
