"""Choosing the release and the servers of a rollback, a retry and a converge."""

from collections.abc import Iterable, Iterator, Sequence

from django.db.models import Q
from django.utils.translation import gettext_noop as _

from deploy_manager.deployments.comparing import is_same, twins_of
from deploy_manager.deployments.gates import came_before
from deploy_manager.deployments.request import DeploymentOptions, choose_placements
from deploy_manager.exceptions import RequestRefused
from deploy_manager.messages import Message, few, join
from deploy_manager.models import (
    ROLLBACK_PHASE,
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
from deploy_manager.models.deployments import ROLLBACK
from deploy_manager.models.serving import most_served, served_before, unproven
from deploy_manager.models.shapes import texts_in
from deploy_manager.packages.downgrades import confirmed_in
from deploy_manager.row_checks import check_row


def releases_to_return_to(environment: Environment, servers: Sequence[str] = ()) -> list[Release]:
    """Return the releases that are complete on the chosen servers and do not serve, newest first.

    No server named means all of them. Bad ones, and ones that never served, are among them: a
    person may choose one.
    """
    return _complete_on(environment, _chosen(environment, servers))


def _complete_on(environment: Environment, chosen: Sequence[Placement]) -> list[Release]:
    complete = [set(each.complete) for each in chosen]
    # Of no sets there is no intersection: Python raises.
    common = set.intersection(*complete) if complete else set()
    serving = most_served(chosen)
    found = environment.releases.filter(name__in=common).select_related("lock")
    return [release for release in found if release != serving]


def serving_on(environment: Environment, servers: Sequence[str] = ()) -> Release | None:
    """Return the release that most of the chosen servers serve; all count if none is named."""
    return most_served(_chosen(environment, servers))


def choose_release(
    environment: Environment, name: str = "", servers: Sequence[str] = ()
) -> Release:
    """Return the release a rollback goes to: the named one, or a good one that served before.

    `name` is a release's name, or the beginning of its commit if no other release begins so. Only
    the servers that are to go back count; none named means all. Raises RequestRefused.
    """
    chosen = [each for each in choose_placements(environment, servers) if each.has_code]
    known = _complete_on(environment, chosen)
    if name:
        found = _named(known, name)
    else:
        found = [each for each in _served_before(environment, chosen) if each in known]
    if not found:
        raise RequestRefused(_no_release(environment, name, servers, chosen, known))
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


def _named(releases: Iterable[Release], name: str) -> list[Release]:
    known = list(releases)
    return [each for each in known if each.name == name] or [
        each for each in known if each.commit.startswith(name)
    ]


def _chosen(environment: Environment, servers: Sequence[str]) -> list[Placement]:
    """The placements on these servers that get releases; all if none is named. None is refused."""
    placements = environment.placements.select_related("server", "active_release__lock")
    named = [each for each in placements if not servers or each.server.name in servers]
    return [each for each in named if each.has_code]


def _served_before(environment: Environment, chosen: Sequence[Placement]) -> list[Release]:
    """The good releases that served before the current one, the last of them first.

    Those with the commit and the pins of the current one come at the end: going back to the same
    changes nothing but the variables.
    """
    serving = most_served(chosen)
    good = {each.pk: each for each in environment.releases.good().select_related("lock")}
    # A release that failed on the servers to be rolled back is none to go back to there.
    on = [each.pk for each in chosen]
    before = [good[key] for key in served_before(environment, serving, on) if key in good]
    return sorted(before, key=lambda each: is_same(each, serving))  # stable


def _no_release(
    environment: Environment,
    name: str,
    servers: Sequence[str],
    chosen: Sequence[Placement],
    known: Sequence[Release],
) -> Message:
    """Return why there is none: what may be chosen, what the servers lack, and each way out."""
    if name and (serving := most_served(chosen)) and _named([serving], name):
        return _serves_already(environment, serving, chosen, known)
    wanted = _wanted(environment, name, chosen)
    where = Message(_("every server of %(site)s"), site=environment)
    if servers:
        names = few([each.server.name for each in chosen])
        where = Message(_("each of %(servers)s"), servers=names)
    if name:
        text = _("No release %(name)s is complete on %(where)s. Available: %(known)s.")
    elif wanted:
        text = _("No good release before this one is complete on %(where)s. Available: %(known)s.")
    else:
        text = _("%(site)s has no good release before this one. Available: %(known)s.")
    words = {"site": environment, "name": name, "where": where, "known": _listed(known)}
    lines = [Message(text, **words)]
    if unknown := [each.server.name for each in chosen if each.is_unknown]:
        why = _(
            "What %(servers)s serves is unknown since it was moved: run the recipe ping there to"
            " look."
        )
        lines.append(Message(why, servers=", ".join(unknown)))
    if wanted:
        lines += _ways_out(environment, wanted, chosen)
    return Message.lines(*lines)


def _serves_already(
    environment: Environment,
    serving: Release,
    chosen: Sequence[Placement],
    known: Sequence[Release],
) -> Message:
    words = {"release": serving, "known": _listed(known)}
    lines = [
        Message(_("%(release)s is the release that serves. Others to choose: %(known)s."), **words)
    ]
    if others := [each.server.name for each in chosen if each.active_release != serving]:
        text = _("To bring it to %(servers)s as well: manage.py converge %(site)s %(each)s")
        named = {"servers": few(others), "each": " ".join(others)}
        lines.append(Message(text, site=environment, **named))
    return Message.lines(*lines)


def _listed(known: Sequence[Release]) -> Message:
    """Releases that may be chosen by their names, each with what it lacks."""
    lacking = unproven(each.pk for each in known)
    names = join(
        Message(_("%(release)s (bad)"), release=each)
        if each.bad_since
        else Message("%(release)s (%(why)s)", release=each, why=lacking[each.pk])
        if each.pk in lacking
        else str(each)
        for each in known
    )
    return names or Message(_("none"))


def _ways_out(
    environment: Environment, wanted: Release, chosen: Sequence[Placement]
) -> Iterator[Message]:
    """Yield how a release that some servers lack can serve: on the others, or once it is sent."""
    seen = [each for each in chosen if not each.is_unknown]
    without = [each.server.name for each in seen if wanted.name not in each.complete]
    having = [each.server.name for each in chosen if wanted.name in each.complete]
    if not without:
        return
    yield Message(
        _(
            "%(release)s is not complete on %(servers)s. To bring it to every server, deploy its"
            " commit: manage.py deploy %(site)s --ref %(commit)s"
        ),
        release=wanted,
        servers=few(without),
        site=environment,
        commit=wanted.commit,
    )
    if having:
        yield Message(
            _(
                "To roll back only the servers that have it, choose these: manage.py rollback"
                " %(site)s --to %(release)s %(options)s"
            ),
            site=environment,
            release=wanted,
            options=" ".join(f"--server {each}" for each in having),
        )


def _wanted(environment: Environment, name: str, chosen: Sequence[Placement]) -> Release | None:
    """The release that a rollback would have gone to, if every server had it.

    Without a name it is the one that the most of them have; of several, the last one that served.
    """
    if name:
        return environment.releases.filter(Q(name=name) | Q(commit__startswith=name)).first()

    def number(release: Release) -> int:
        return sum(release.name in each.complete for each in chosen)

    return max(_served_before(environment, chosen), key=number, default=None)


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
    # One that never began has passed nothing: what it was to promote has to pass as it did then.
    has_come = deployment.release is None or came_before(deployment.release)
    promotes = None if has_come else deployment.promotes
    options = DeploymentOptions(
        ref=deployment.ref,
        # Once it was resolved: the branch may mean another one by now, which nobody retried.
        commit=deployment.commit,
        release=None if promotes else deployment.release,
        promotes=promotes,
        servers=servers,
        left=left,
        reason=reason or deployment.reason,
        forced_migrations=deployment.forced_migrations,
        arguments=texts_in(deployment.arguments),
        retry_of=deployment,
        take_back=_still_confirmed(deployment),
        without=_done_once(deployment),
    )
    return deployment.recipe, options


def _missed(deployment: Deployment) -> tuple[list[str], list[str]]:
    """The servers on which it did not succeed: those that are still there, and those that left."""
    placements = deployment.environment.placements.select_related("server")
    known = {each.server.name for each in placements}
    servers: list[str] = []
    left: list[str] = []
    runs = deployment.host_runs.filter(state__in=TO_RETRY).select_related("placement__server")
    for run in runs.order_by("pk"):
        # Renamed since, it is the same server; taken out and added again, it is one of that name.
        name = run.placement.server.name if run.placement else run.server_name
        (servers if name in known else left).append(name)
    return servers, left


def _done_once(deployment: Deployment) -> frozenset[str]:
    """The recipes that run once for all servers and succeeded, as the rows say.

    None that ran before a rollback: it may have reversed what they did, as migrations.
    """
    done: set[str] = set()
    switched_back = Deployment.objects.filter(
        environment=deployment.environment_id, recipe=ROLLBACK, host_runs__was_switched=True
    )
    last = switched_back.order_by("-begin_number").first()
    # A retry of a retry: the first one left out what was done before.
    for tried in deployment.with_what_it_retries():
        if last and last.begin_number > tried.begin_number:
            continue
        once = Step.objects.filter(host_run__deployment=tried, once=True)
        # What ran when its server was brought back undid what it had done before.
        back = once.filter(phase=ROLLBACK_PHASE, started_at__isnull=False).values("recipe")
        once = once.exclude(phase=ROLLBACK_PHASE)
        undone = once.exclude(state=State.SUCCEEDED).values("recipe")
        finished = once.exclude(recipe__in=undone).exclude(recipe__in=back)
        done.update(finished.values_list("recipe", flat=True))
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
    # Servers without a release pass this outer join, too: `most_served` does not count them.
    good = others.filter(active_release__bad_since=None)
    release = most_served(good.select_related("active_release__lock"))
    if release is None:
        raise RequestRefused(
            _("No other server of %(site)s serves a release yet: deploy it."), site=environment
        )
    return DeploymentOptions(servers=servers, release=release)
