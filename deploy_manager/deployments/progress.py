"""The progress of a deployment: what changed after a cursor, for pages and terminals alike.

The cursor is a `Deployment.sequence`. Every change is numbered in the order of the commits, with
the deployment's row locked, so nothing can appear before a cursor later.
"""

from collections.abc import Iterator
from typing import NamedTuple

from deploy_manager.models import Deployment, HostRun, LogChunk, Step

FROM_THE_START = -1


class Progress(NamedTuple):
    """The deployment as it is now, and its hosts, steps and output that changed."""

    deployment: Deployment
    host_runs: list[HostRun]
    steps: list[Step]
    chunks: list[LogChunk]
    cursor: int
    """Pass this as `after` the next time."""

    more: bool
    """Whether there is more already: read again at once."""


def read(deployment_id: int, after: int = FROM_THE_START, max_bytes: int = 256 * 1024) -> Progress:
    """Return what changed after the cursor, with `max_bytes` of output or a little more.

    Raises Deployment.DoesNotExist.
    """
    deployment = Deployment.objects.select_related("environment__project", "release").get(
        pk=deployment_id
    )
    if deployment.sequence <= after:
        # Most polls: nothing changed, so that nothing else is asked of the database.
        return Progress(deployment, [], [], [], deployment.sequence, more=False)
    chunks = list(_chunks(deployment, after, max_bytes))
    left = deployment.log_chunks.filter(
        sequence__gt=chunks[-1].sequence if chunks else after, sequence__lte=deployment.sequence
    )
    more = left.exists()
    # Not past the last chunk read: hosts and steps that changed after it come with the next ones.
    cursor = chunks[-1].sequence if more and chunks else deployment.sequence
    changed = {"sequence__gt": after, "sequence__lte": cursor}
    return Progress(
        deployment=deployment,
        host_runs=list(deployment.host_runs.filter(**changed).order_by("pk")),
        steps=list(
            Step.objects.filter(host_run__deployment=deployment, **changed).order_by(
                "host_run", "number"
            )
        ),
        chunks=chunks,
        cursor=cursor,
        more=more,
    )


def _chunks(deployment: Deployment, after: int, max_bytes: int) -> Iterator[LogChunk]:
    found = deployment.log_chunks.filter(
        sequence__gt=after, sequence__lte=deployment.sequence
    ).order_by("sequence")
    size = 0
    # Few at a time: each may have 64 KiB, and Django's 2,000 rows would mostly be read in vain.
    for chunk in found.iterator(chunk_size=20):
        yield chunk
        size += len(chunk.data)
        if size >= max_bytes:
            return


def whole_log(deployment: Deployment) -> Iterator[bytes]:
    """Yield the exact output of all servers, one after the other, each under its name."""
    for run in deployment.host_runs.order_by("pk"):
        yield f"==> {run.server_name} <==\n".encode()
        yield from log_of(run)


def log_of(run: HostRun) -> Iterator[bytes]:
    """Yield the exact output of one server."""
    # Few at a time: a chunk may be large, and a log larger than memory.
    for chunk in run.log_chunks.order_by("sequence").iterator(chunk_size=20):
        yield bytes(chunk.data)
