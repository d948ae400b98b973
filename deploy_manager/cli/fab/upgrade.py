"""`fab production upgrade`: an upgrade with this very process as the worker of its deployments."""

import sys
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from threading import Event

from django.db import connections
from invoke.exceptions import Exit

from deploy_manager.cli.asking import make_console, refusals, refuse, who_asks
from deploy_manager.cli.deployments.following import Follower, Interrupts
from deploy_manager.cli.deployments.terminal import make_view
from deploy_manager.cli.upgrades.options import UpgradeArguments, plan_for_arguments
from deploy_manager.cli.upgrades.watching import UpgradeWatcher
from deploy_manager.deployments.run import run
from deploy_manager.models import Deployment, Environment, UpgradeState
from deploy_manager.reconcile import promote_next
from deploy_manager.upgrades.progress import advance_upgrade
from deploy_manager.upgrades.requests import cancel_upgrade, request_upgrade

FAILED = 1
"""Exit code."""

LOOKS_EVERY = 1.0
"""Seconds between two looks whether what waits, for the end of a freeze or a time, may begin."""


@dataclass(frozen=True)
class Words:
    """What was typed, as fab hands it over."""

    packages: Sequence[str]
    reaches: Mapping[str, bool]
    """Which of REACHES were arguments."""

    soak: str
    cooldown: str
    reason: str
    dry_run: bool

    def read(self) -> UpgradeArguments:
        """Return what is meant; refused where that can't be."""
        arguments = [name for name, is_given in self.reaches.items() if is_given]
        if len(arguments) > 1:
            refuse(f"Say one of {', '.join(f'--{name}' for name in arguments)}.")
        return UpgradeArguments(
            packages=self.packages,
            reach="".join(arguments),
            reason=self.reason,
            soak=_whole_number("soak", self.soak),
            cooldown=_whole_number("cooldown", self.cooldown),
            only_shows=self.dry_run,
        )


def _whole_number(option: str, text: str) -> int:
    try:
        return int(text)
    except ValueError:
        refuse(f"--{option}: {text!r} is no whole number.")


def upgrade(environment: Environment, arguments: UpgradeArguments) -> None:
    """Plan it, show it and see it through here. Raises CommandError, or Exit where it failed."""
    view = make_view(make_console(sys.stdout))
    plan = plan_for_arguments([environment], arguments, view)
    if plan is None:
        return
    interrupts = Interrupts()
    with interrupts.noted():
        with refusals():
            asked = request_upgrade(plan, source="fab", requested_by_name=who_asks())
        ended = UpgradeWorker(asked, view, interrupts).watch()
    if ended.state != UpgradeState.SUCCEEDED:
        raise Exit(code=FAILED)


class UpgradeWorker(UpgradeWatcher):
    """Does the work of what it watches. Ctrl-C cancels, for nobody else would go on."""

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
                is_over.set()
                work.result()

    def stays(self) -> bool:
        cancel_upgrade(self.upgrade, who_asks())
        self.view.say("Cancelling: what runs is being stopped, what was switched goes back.")
        return True


def _work_on(deployment_id: int, is_over: Event) -> None:
    """Run a deployment; where it has to wait, look now and then whether it may begin."""
    try:
        while not is_over.is_set():
            run(deployment_id)
            deployment = Deployment.objects.select_related("environment__project").get(
                pk=deployment_id
            )
            if not deployment.is_live or is_over.wait(LOOKS_EVERY):
                return
            promote_next(deployment.environment, lambda _shard: None)
    finally:
        connections.close_all()
