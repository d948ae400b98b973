"""Telling workers to gather what is due: packages on servers, facts of indexes, advisories.

The rows say what is due, so a message that is lost is sent again, and one that comes twice finds
nothing to do.
"""

from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass

from deploy_manager.isolation import job_round
from deploy_manager.models import Deployment, Placement
from deploy_manager.packages.auditing import is_audit_due
from deploy_manager.packages.inventory import claim_due_placements
from deploy_manager.packages.looking_up import is_look_up_due

MOST_AT_A_TIME = 50
"""Servers in one message, asked side by side; the others are told of a few seconds later."""


@dataclass(frozen=True)
class Tellers:
    """How a worker is told of each thing; False where none could be."""

    take_inventory: Callable[..., bool]
    """Takes the ids of placements."""

    look_up: Callable[[], bool]
    audit: Callable[[], bool]


def gather(tell: Tellers) -> Counter[str]:
    """Tell workers of what is due; return how often each thing was told.

    Where nobody can be told of one thing, the others are left for the next time, too. What a job
    raises is kept as its problem, and stops no other. Raises DatabaseError where it is away.
    """
    done: Counter[str] = Counter()
    for name, job in JOBS.items():
        times: int | None = 0
        with job_round(name):
            times = job(tell)
        if times is None:
            break
        done[name] = times
    return +done


def ask_after(deployment: Deployment) -> None:
    """Let every server that a deployment reached be due to tell what is installed now."""
    reached = deployment.host_runs.filter(placement__isnull=False, started_at__isnull=False)
    Placement.objects.filter(pk__in=reached.values("placement")).update(inventory_tried_at=None)


def ask_servers(tell: Tellers) -> int | None:
    """Tell of the servers that are due; None where nobody could be told."""
    claimed = claim_due_placements(MOST_AT_A_TIME)
    if claimed and not tell.take_inventory(*claimed):
        # They stay due, as nobody was told.
        Placement.objects.filter(pk__in=claimed).update(inventory_tried_at=None)
        return None
    return len(claimed)


def _look_up(tell: Tellers) -> int | None:
    return _once(tell.look_up) if is_look_up_due() else 0


def _audit(tell: Tellers) -> int | None:
    return _once(tell.audit) if is_audit_due() else 0


def _once(tell: Callable[[], bool]) -> int | None:
    return 1 if tell() else None


JOBS: dict[str, Callable[[Tellers], int | None]] = {
    "asked servers for their packages": ask_servers,
    "had packages looked up": _look_up,
    "had advisories looked for": _audit,
}
