"""Watching an upgrade until it ends: each of its deployments, and what lies between them."""

import time

from deploy_manager import dispatch
from deploy_manager.cli.asking import who_asks
from deploy_manager.cli.deployments.following import Interrupts
from deploy_manager.cli.deployments.json_lines import JsonLines
from deploy_manager.cli.deployments.terminal import Lines
from deploy_manager.cli.deployments.watching import ask_whether_to_stay, watch
from deploy_manager.cli.upgrades.lines import show_end, show_stage
from deploy_manager.models import Deployment, Upgrade, UpgradeStage
from deploy_manager.upgrades.requests import cancel_upgrade

POLL_SECONDS = 0.5


class UpgradeWatcher:
    """Shows an upgrade's stages as they change; the process that watches moves it on, too."""

    def __init__(self, upgrade: Upgrade, view: JsonLines | Lines, interrupts: Interrupts) -> None:
        self.upgrade = upgrade
        self.view = view
        self.interrupts = interrupts
        self._told: dict[int, str] = {}
        self._watched: set[int] = set()

    def watch(self) -> Upgrade:
        """Return the upgrade as it ended, or as it stood when the watcher left."""
        while True:
            self.advance()
            self.upgrade.refresh_from_db()
            stages = self._stages()
            for stage in stages:
                self._show(stage)
            stays = self._watch_deployments(stages) and (not self.interrupts.take() or self.stays())
            if not stays or not self.upgrade.is_live:
                break
            time.sleep(POLL_SECONDS)
        show_end(self.upgrade, self.view)
        return self.upgrade

    def advance(self) -> None:
        """Do what is due of it."""
        dispatch.advance(self.upgrade.pk)

    def follow(self, deployment: Deployment) -> Deployment:
        """Show a deployment; return it as it ended, or as it stood when the watcher left."""
        return watch(deployment, self.view, self.interrupts)

    def stays(self) -> bool:
        """After Ctrl-C between two deployments: ask whether to watch on, leave or cancel."""

        def cancel() -> None:
            cancel_upgrade(self.upgrade, who_asks())

        return ask_whether_to_stay(f"Upgrade #{self.upgrade.pk}", cancel, self.view)

    def _stages(self) -> list[UpgradeStage]:
        stages = self.upgrade.stages.select_related(
            "environment__project", "deployment", "returned_by"
        )
        return list(stages)

    def _show(self, stage: UpgradeStage) -> None:
        if self._told.get(stage.pk) != stage.state:
            self._told[stage.pk] = stage.state
            show_stage(stage, self.view)

    def _watch_deployments(self, stages: list[UpgradeStage]) -> bool:
        """Watch what is new to us to its end; False where the watcher left meanwhile."""
        deployments = [each for stage in stages for each in (stage.deployment, stage.returned_by)]
        return all(self._watch_one(each) for each in deployments if each)

    def _watch_one(self, deployment: Deployment) -> bool:
        if deployment.pk in self._watched:
            return True
        self._watched.add(deployment.pk)
        return not self.follow(deployment).is_live
