"""Watching an upgrade until it ends: its environments, and each of its deployments."""

import time

from deploy_manager import dispatch
from deploy_manager.cli.deployments.following import Interrupts
from deploy_manager.cli.deployments.watching import (
    ask_whether_to_stay,
    remark_who_starts_it,
    watch,
)
from deploy_manager.cli.upgrades.reports import OutcomeReport, show_stage
from deploy_manager.cli.views.base import View
from deploy_manager.models import Deployment, State, Upgrade, UpgradeStage
from deploy_manager.requester import requester_name
from deploy_manager.upgrades.requests import cancel_upgrade

POLL_SECONDS = 0.5


class UpgradeWatcher:
    """Shows the stages of an upgrade as they change, and advances the upgrade at each poll.

    So it advances at once, even if reconcile runs rarely or is not scheduled.
    """

    def __init__(self, upgrade: Upgrade, view: View, interrupts: Interrupts) -> None:
        self.upgrade = upgrade
        self.view = view
        self.interrupts = interrupts
        self._shown: dict[int, str] = {}
        self._watched: set[int] = set()

    def watch(self) -> Upgrade:
        """Return the upgrade as it ended, or as it was when the watcher left."""
        while True:
            self.advance()
            # Reconcile advances it as well: only its row says where it is.
            self.upgrade.refresh_from_db()
            related = ("environment__project", "deployment", "returned_by")
            stages = list(self.upgrade.stages.select_related(*related))
            for stage in stages:
                if self._shown.get(stage.pk) != stage.state:
                    self._shown[stage.pk] = stage.state
                    show_stage(stage, self.view)
            stays = self._watch_deployments(stages) and (not self.interrupts.take() or self.stays())
            if not stays or not self.upgrade.is_live:
                break
            time.sleep(POLL_SECONDS)
        self.view.show(OutcomeReport(self.upgrade))
        return self.upgrade

    def advance(self) -> None:
        """Do the next step, if it is due."""
        dispatch.advance(self.upgrade.pk)

    def follow(self, deployment: Deployment) -> Deployment:
        """Show a deployment; return it as it ended, or as it was when the watcher left."""
        remark_who_starts_it(deployment, self.view)
        return watch(deployment, self.view, self.interrupts)

    def stays(self) -> bool:
        """After Ctrl-C between two deployments: ask whether to watch on, leave or cancel."""

        def cancel() -> None:
            cancel_upgrade(self.upgrade, requester_name())

        return ask_whether_to_stay(f"Upgrade #{self.upgrade.pk}", cancel, self.view)

    def _watch_deployments(self, stages: list[UpgradeStage]) -> bool:
        """Watch each new deployment to its end; return False if the watcher left meanwhile."""
        for stage in stages:
            for deployment in (stage.deployment, stage.returned_by):
                if deployment is None or deployment.pk in self._watched:
                    continue
                self._watched.add(deployment.pk)
                # What a stage waits for is its own message, too.
                if deployment.state == State.WAITING and deployment.message != stage.message:
                    self.view.say(str(deployment.message))
                if self.follow(deployment).is_live:
                    return False
        return True
