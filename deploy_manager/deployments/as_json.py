"""Deployments for programs: plans, and events, one object each, as they come to be.

The same on a command line (`--json`) and from the API: an object has an `event`, which is host,
step, output, waiting or, at last, summary.
"""

from collections.abc import Iterable, Iterator, Mapping
from datetime import datetime
from operator import attrgetter
from typing import Any, NamedTuple

from deploy_manager.deployments import progress
from deploy_manager.deployments.checking import why_not_now
from deploy_manager.deployments.plan import Plan
from deploy_manager.deployments.progress import Progress
from deploy_manager.deployments.request import DeploymentOptions
from deploy_manager.messages import Message, in_words
from deploy_manager.models import Deployment, HostRun, LogChunk, State, Step
from deploy_manager.packages.as_json import override_as_json, pin_as_json

Event = dict[str, Any]


class Events(NamedTuple):
    """What happened after a cursor."""

    deployment: Deployment
    events: list[Event]
    cursor: int
    """Pass this as `after` the next time."""

    more: bool
    """Whether there is more already: read again at once."""


def event(name: str, /, **values: Any) -> Event:
    """Return an event, with its messages in words."""
    return {"event": name, **in_words(values)}


def plan_as_json(plan: Plan, options: DeploymentOptions) -> dict[str, Any]:
    """Return what a plan says; its messages are not put into words yet."""
    release = options.release
    return {
        "environment": str(plan.environment),
        "recipe": plan.pipeline.name,
        "ref": plan.ref,
        "commit_now": plan.commit_now,
        "commit": plan.commit.hash if plan.commit else "",
        "bad": plan.bad,
        "release": release.name if release else "",
        "servers": [server.placement.server.name for server in plan.servers],
        "left": list(options.left),
        "waves": [server.wave for server in plan.servers],
        "pins": [pin_as_json(pin) for pin in plan.pins],
        "migrations": list(plan.migrations),
        "databases": list(plan.databases),
        "overrides": [override_as_json(each) for each in plan.overrides],
        "build": list(plan.build),
        "broken": dict(plan.broken),
        "arguments": list(options.arguments),
        "foreseen": list(map(str, plan.foreseen)),
        "left_behind": [each.server.name for each in plan.left_behind],
        "approvals": Message() if options.breaks_glass else plan.approvals,
        "promotes": str(plan.promotes.environment) if plan.promotes else "",
        "gate": Message() if options.breaks_glass else plan.gate.why,
        "not_now": why_not_now(plan.environment, plan.pipeline, options),
    }


def read_events(
    deployment_id: int, after: int, max_bytes: int, *, with_output: bool = True
) -> Events:
    """Return what happened after a cursor; the summary last, once it has ended.

    The queries are as many for one server as for a thousand. Raises Deployment.DoesNotExist.
    """
    read = progress.read(deployment_id, after, max_bytes)
    if not with_output:
        read = read._replace(chunks=[])
    deployment = read.deployment
    found = list(changes_as_json(read, *_names_in(read)))
    if deployment.state == State.WAITING and deployment.sequence > after:
        found.append(event("waiting", deployment=deployment.pk, message=deployment.message))
    if not (read.more or deployment.is_live):
        runs = deployment.host_runs.order_by("pk").only("deployment", "server_name", "state")
        found.append(event("summary", **summary_of(deployment, runs)))
    return Events(deployment, found, read.cursor, read.more)


def _names_in(read: Progress) -> tuple[dict[int, str], dict[int, str]]:
    """Return the servers and recipes that changes are about, by their keys."""
    runs = {each.host_run_id for each in read.chunks} | {each.host_run_id for each in read.steps}
    steps = {each.step_id for each in read.chunks}
    servers = HostRun.objects.filter(deployment=read.deployment, pk__in=runs)
    recipes = Step.objects.filter(host_run__deployment=read.deployment, pk__in=steps)
    return (
        dict(servers.values_list("pk", "server_name")),
        dict(recipes.values_list("pk", "recipe")),
    )


def changes_as_json(
    read: Progress, servers: Mapping[int, str], recipes: Mapping[int, str]
) -> Iterator[Event]:
    """Yield the events of what changed; names are looked up by the keys of hosts and steps."""
    changes: list[LogChunk | Step | HostRun] = [*read.chunks, *read.steps, *read.host_runs]
    # In the order in which they were written, which each kind of row alone does not show.
    for change in sorted(changes, key=attrgetter("sequence")):
        yield _change_as_json(change, servers, recipes)


def _change_as_json(
    change: LogChunk | Step | HostRun, servers: Mapping[int, str], recipes: Mapping[int, str]
) -> Event:
    if isinstance(change, LogChunk):
        return event(
            "output",
            server=servers[change.host_run_id],
            step=recipes[change.step_id],
            stream=LogChunk.Stream(change.stream).name.lower(),
            text=bytes(change.data).decode(errors="replace"),
        )
    if isinstance(change, Step):
        return event(
            "step",
            server=servers[change.host_run_id],
            step=change.recipe,
            number=change.number,
            exit_code=change.exit_code,
            **_state_of(change),
        )
    return event("host", server=change.server_name, wave=change.wave, **_state_of(change))


def summary_of(deployment: Deployment, runs: Iterable[HostRun]) -> dict[str, Any]:
    """Return what the summary of a deployment says, with the states of these hosts of it."""
    return {
        "deployment": deployment.pk,
        "state": deployment.state,
        "message": deployment.message,
        "commit": deployment.commit,
        "release": deployment.release.name if deployment.release else "",
        "started_at": iso(deployment.started_at),
        "finished_at": iso(deployment.finished_at),
        "servers": {run.server_name: run.state for run in runs},
    }


def _state_of(row: Step | HostRun) -> dict[str, Any]:
    return {
        "state": row.state,
        "message": row.message,
        "started_at": iso(row.started_at),
        "finished_at": iso(row.finished_at),
    }


def iso(moment: datetime | None) -> str | None:
    return moment.isoformat() if moment else None
