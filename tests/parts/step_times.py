"""What each step of a deployment took, read from its rows."""

from collections import defaultdict
from datetime import datetime, timedelta

from deploy_manager.models import Deployment, Step

Span = tuple[datetime, datetime]


def times_of_steps(deployment: Deployment, took: float) -> dict[str, float]:
    """Return the seconds of each step from its first begin on a server to its last end.

    Within a stage no server waits for another: its steps there lie over each other. What is left of
    the seconds that all of it took comes last.
    """
    spans: dict[tuple[int, str], list[Span]] = defaultdict(list)
    for step in Step.objects.filter(host_run__deployment=deployment).order_by("stage", "number"):
        if step.started_at and step.finished_at:
            spans[step.stage, step.recipe].append((step.started_at, step.finished_at))
    times = {}
    for (stage, recipe), moments in spans.items():
        start, end = min(start for start, _ in moments), max(end for _, end in moments)
        times[f"stage {stage}, {recipe} on {len(moments)}"] = (end - start).total_seconds()
    every_span = sorted(span for moments in spans.values() for span in moments)
    times["beside all steps"] = took - covered(every_span).total_seconds()
    return times


def covered(spans: list[Span]) -> timedelta:
    """How long any of them lasted; they are sorted."""
    whole, until = timedelta(), spans[0][0]
    for start, end in spans:
        whole += max(end - max(start, until), timedelta())
        until = max(until, end)
    return whole
