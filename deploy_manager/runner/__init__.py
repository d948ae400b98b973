"""A deployment's story: request, plan, claim, stages, end, and the sweep that keeps it true."""

from deploy_manager.models.rights import may_deploy
from deploy_manager.runner.choices import choose_release, converge, releases_to_return_to, retry
from deploy_manager.runner.leaving import process_ends
from deploy_manager.runner.letting_go import let_go, what_comes_back
from deploy_manager.runner.notifying import send_notices
from deploy_manager.runner.overrides import StandingOverride, lay_over
from deploy_manager.runner.packages.auditing import audit
from deploy_manager.runner.packages.exposure import exposures, vulnerable_packages, who_runs
from deploy_manager.runner.packages.gathering import Tellers, ask_after, ask_servers, gather
from deploy_manager.runner.packages.inventory import take_inventories, take_inventory
from deploy_manager.runner.packages.known import KnownPackages
from deploy_manager.runner.packages.looking_up import look_up_due
from deploy_manager.runner.plan import Plan, PlannedServer, make_plan
from deploy_manager.runner.probing import probe
from deploy_manager.runner.request import Wish, request
from deploy_manager.runner.run import run, run_slice
from deploy_manager.runner.sweep import promote_next, sweep
from deploy_manager.runner.taking_back import ChangedPin, changed_pins
from deploy_manager.runner.targets import targets_of
from deploy_manager.runner.upgrades.plan import (
    PlannedStage,
    UpgradePlan,
    UpgradeWish,
    plan_upgrade,
)
from deploy_manager.runner.upgrades.progress import advance_upgrade, upgrade_of
from deploy_manager.runner.upgrades.requests import cancel_upgrade, request_upgrade
from deploy_manager.runner.upgrades.words import fixes_for, wishes_for

__all__ = [
    "ChangedPin",
    "KnownPackages",
    "Plan",
    "PlannedServer",
    "PlannedStage",
    "StandingOverride",
    "Tellers",
    "UpgradePlan",
    "UpgradeWish",
    "Wish",
    "advance_upgrade",
    "ask_after",
    "ask_servers",
    "audit",
    "cancel_upgrade",
    "changed_pins",
    "choose_release",
    "converge",
    "exposures",
    "fixes_for",
    "gather",
    "lay_over",
    "let_go",
    "look_up_due",
    "make_plan",
    "may_deploy",
    "plan_upgrade",
    "probe",
    "process_ends",
    "promote_next",
    "releases_to_return_to",
    "request",
    "request_upgrade",
    "retry",
    "run",
    "run_slice",
    "send_notices",
    "sweep",
    "take_inventories",
    "take_inventory",
    "targets_of",
    "upgrade_of",
    "vulnerable_packages",
    "what_comes_back",
    "who_runs",
    "wishes_for",
]
