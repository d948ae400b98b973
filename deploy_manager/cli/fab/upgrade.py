"""`fab production upgrade`: an upgrade whose deployments this very process carries out."""

import sys
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from datetime import timedelta
from threading import Event

from django.db import connections
from invoke.exceptions import Exit

from deploy_manager.cli.console import make_console
from deploy_manager.cli.deployments.following import Follower, Interrupts
from deploy_manager.cli.exits import FAILED, refusals, refuse
from deploy_manager.cli.upgrades.options import plan_for_arguments
from deploy_manager.cli.upgrades.watching import UpgradeWatcher
from deploy_manager.cli.views.terminal import make_view
from deploy_manager.deployments.run import run
from deploy_manager.deployments.times import parse_duration
from deploy_manager.models import Deployment, Environment, UpgradeState
from deploy_manager.reconcile import promote_next
from deploy_manager.requester import requester_name
from deploy_manager.upgrades.arguments import UpgradeArguments
from deploy_manager.upgrades.progress import advance_upgrade
from deploy_manager.upgrades.requests import cancel_upgrade, request_upgrade

WAITING_POLL_SECONDS = 1.0
"""How often to try whether a deployment that waits, for a thaw or for its time, may begin."""


@dataclass(frozen=True)
class Words:
    """The arguments as fab passes them: text and flags."""

    packages: Sequence[str]
    reaches: Mapping[str, bool]
    """Each name of REACHES, and whether its flag was given."""

    soak: str
    cooldown: str
    reason: str
    dry_run: bool
    take_back: bool

    def read(self) -> UpgradeArguments:
        """Return what they mean. Raises CommandError (exit code 2)."""
        reaches = [name for name, is_given in self.reaches.items() if is_given]
        if len(reaches) > 1:
            refuse(f"Choose one of {', '.join(f'--{name}' for name in reaches)}.")
        return UpgradeArguments(
            packages=self.packages,
            reach="".join(reaches),
            reason=self.reason,
            soak=_read_duration("soak", self.soak),
            cooldown=_read_duration("cooldown", self.cooldown),
            dry_run=self.dry_run,
            take_back=self.take_back,
        )


def _read_duration(option: str, text: str) -> timedelta:
    try:
        return parse_duration(text)
    except ValueError as error:
        refuse(f"--{option}: {error}")


def upgrade(environment: Environment, arguments: UpgradeArguments) -> None:
    """Plan, show and carry out an upgrade. Raises CommandError, or Exit if it does not succeed."""
    view = make_view(make_console(sys.stdout))
    plan = plan_for_arguments([environment], arguments, view)
    if plan is None:
        return
    interrupts = Interrupts()
    with interrupts.noted():
        with refusals():
            requested = request_upgrade(plan, source="fab", requested_by_name=requester_name())
        ended = UpgradeWorker(requested, view, interrupts).watch()
    if ended.state != UpgradeState.SUCCEEDED:
        raise Exit(code=FAILED)


class UpgradeWorker(UpgradeWatcher):
    """Carries out what it watches. Ctrl-C cancels: without this process the work would stop."""

    def advance(self) -> None:
        advance_upgrade(self.upgrade.pk)

    def follow(self, deployment: Deployment) -> Deployment:
        is_over = Event()
        with ThreadPoolExecutor(max_workers=1, thread_name_prefix="deployment") as pool:
            work = pool.submit(_work_on, deployment.pk, is_over)
            try:
                return Follower(
                    deployment.pk, self.view, lambda _now: self.stays(), self.interrupts, work.done
                ).follow()
            finally:
                # Also when following failed: leaving the pool waits for the thread.
                is_over.set()
                work.result()

    def stays(self) -> bool:
        cancel_upgrade(self.upgrade, requester_name())
        self.view.say(
            "Cancelling: what runs is being stopped, and servers that were switched go back."
        )
        return True


def _work_on(deployment_id: int, is_over: Event) -> None:
    """Run a deployment; if it has to wait, try again until it may begin."""
    try:
        while not is_over.is_set():
            # Returns at once while it waits: its shards can't be claimed yet.
            run(deployment_id)
            deployment = Deployment.objects.select_related("environment__project").get(
                pk=deployment_id
            )
            if not deployment.is_live or is_over.wait(WAITING_POLL_SECONDS):
                return
            # No worker is woken: `run` above takes the deployment.
            promote_next(deployment.environment, lambda _shard: None)
    finally:
        # Django keeps a connection for each thread, and closes those of requests only.
        connections.close_all()
