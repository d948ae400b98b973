"""A deployment's story: request, plan, claim, stages, end, and the sweep that keeps it true."""

from deploy_manager.runner.choices import choose_release, converge, releases_to_return_to, retry
from deploy_manager.runner.leaving import process_ends
from deploy_manager.runner.notifying import send_notices
from deploy_manager.runner.plan import Plan, PlannedServer, make_plan
from deploy_manager.runner.probing import probe
from deploy_manager.runner.request import Wish, may_deploy, request
from deploy_manager.runner.run import run, run_slice
from deploy_manager.runner.sweep import promote_next, sweep

__all__ = [
    "Plan",
    "PlannedServer",
    "Wish",
    "choose_release",
    "converge",
    "make_plan",
    "may_deploy",
    "probe",
    "process_ends",
    "promote_next",
    "releases_to_return_to",
    "request",
    "retry",
    "run",
    "run_slice",
    "send_notices",
    "sweep",
]
