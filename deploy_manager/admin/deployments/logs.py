"""A deployment's output: the end of it on the page, all of it as a download."""

from dataclasses import dataclass
from itertools import groupby
from operator import attrgetter

from django.db.models import F, QuerySet, Sum, Window
from django.db.models.functions import Length
from django.utils.safestring import SafeString
from django.utils.translation import gettext as _

from deploy_manager.admin.deployments.ansi import to_html
from deploy_manager.models import Deployment, HostRun, LogChunk

PAGE_BYTES = 512 * 1024
"""Approximate amount of output on a new page, shared by the servers."""

LEAST_BYTES = 16 * 1024


@dataclass(frozen=True)
class Block:
    """A piece of a step's output, ready for the page."""

    host: int
    step: int
    title: str
    stream: str
    lines: int
    html: SafeString


@dataclass(frozen=True)
class Tail:
    """The end of one server's output."""

    host_run: HostRun
    blocks: tuple[Block, ...]
    cut: bool
    """Whether there is earlier output, which the page leaves out."""


def to_block(chunk: LogChunk) -> Block:
    """Return a chunk of output for the page. The chunk's step must be loaded."""
    data = bytes(chunk.data)
    return Block(
        host=chunk.host_run_id,
        step=chunk.step_id,
        title=f"{chunk.step.number}. {_(chunk.step.title)}",
        stream=LogChunk.Stream(chunk.stream).name.lower(),
        lines=data.count(b"\n") + 1,
        html=to_html(data),
    )


def read_tails(deployment: Deployment, runs: list[HostRun]) -> list[Tail]:
    """Return the end of each server's output, up to the sequence number where polling starts."""
    budget = max(PAGE_BYTES // max(len(runs), 1), LEAST_BYTES)
    chunks = list(_last_chunks(deployment, budget))
    by_run = {pk: list(group) for pk, group in groupby(chunks, attrgetter("host_run_id"))}
    tails = []
    for run in runs:
        own = by_run.get(run.pk, [])
        cut = bool(own) and own[0].bytes_in_all > own[0].bytes_from_here  # type: ignore[attr-defined]
        tails.append(Tail(run, tuple(map(to_block, own)), cut))
    return tails


def _last_chunks(deployment: Deployment, budget: int) -> QuerySet[LogChunk]:
    """Return as many of each server's last chunks as the budget allows, at least one each."""
    own_bytes = Length("data")
    # Window functions, as a LIMIT per server would take a query per server.
    return (
        deployment.log_chunks.filter(sequence__lte=deployment.sequence)
        .annotate(
            bytes_from_here=Window(Sum(own_bytes), [F("host_run")], F("sequence").desc()),
            bytes_in_all=Window(Sum(own_bytes), [F("host_run")]),
        )
        # A chunk stays if what comes after it is within the budget: so the last one always does.
        .filter(bytes_from_here__lt=budget + own_bytes)
        .select_related("step")
        .order_by("host_run", "sequence")
    )
