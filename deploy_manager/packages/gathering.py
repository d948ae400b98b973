"""Have workers gather the facts that are due: installed packages, index facts, advisories.

The rows say what is due: a message that is lost is sent again, and one that arrives twice finds
nothing to do.
"""

from collections import Counter
from collections.abc import Callable

from deploy_manager.isolation import job_round
from deploy_manager.models import Deployment, Placement
from deploy_manager.packages.auditing import is_audit_due
from deploy_manager.packages.gatherers import Gatherers
from deploy_manager.packages.inventory import claim_due_placements
from deploy_manager.packages.looking_up import is_look_up_due

MOST_AT_A_TIME = 50
"""Servers in one message, asked side by side; the next round takes the others."""


def gather(gatherers: Gatherers, first: "Jobs | None" = None) -> Counter[str]:
    """Wake workers for what is due; return how often for each kind of fact.

    `first` are jobs of other engines that come before those of this one.

    If no worker can be woken for one kind, the others are left for the next round, too. What a job
    raises is kept as its problem and does not stop the others. Raises DatabaseError if the database
    can't be reached.
    """
    done: Counter[str] = Counter()
    for name, job in ((first or {}) | JOBS).items():
        times: int | None = 0
        with job_round(name):
            times = job(gatherers)
        # The broker is away: each further message would wait for it again.
        if times is None:
            break
        done[name] = times
    return +done


def ask_after(deployment: Deployment) -> None:
    """Make the inventory due on every server that a deployment reached."""
    reached = deployment.host_runs.filter(placement__isnull=False, started_at__isnull=False)
    Placement.objects.filter(pk__in=reached.values("placement")).update(inventory_tried_at=None)


def ask_servers(gatherers: Gatherers) -> int | None:
    """Wake a worker for the servers that are due; None if none could be woken."""
    claimed = claim_due_placements(MOST_AT_A_TIME)
    if claimed and not gatherers.take_inventory(*claimed):
        # Claiming marked them as asked: no worker was woken, so they are due again.
        Placement.objects.filter(pk__in=claimed).update(inventory_tried_at=None)
        return None
    return len(claimed)


def _look_up(gatherers: Gatherers) -> int | None:
    if not is_look_up_due():
        return 0
    return 1 if gatherers.look_up() else None


def _audit(gatherers: Gatherers) -> int | None:
    if not is_audit_due():
        return 0
    return 1 if gatherers.audit() else None


Jobs = dict[str, Callable[[Gatherers], int | None]]

JOBS: Jobs = {
    "asked servers for their packages": ask_servers,
    "had packages looked up": _look_up,
    "had advisories looked for": _audit,
}
