"""Let releases change again on an environment."""

from typing import Any

from deploy_manager import dispatch
from deploy_manager.cli.base import EnvironmentCommand
from deploy_manager.cli.inventory.environments import find_environment
from deploy_manager.cli.inventory.freezes import show_freeze
from deploy_manager.reconcile import promote_next


class Command(EnvironmentCommand):
    help = "Let releases change again on an environment that was frozen."

    def handle(self, *args: Any, **options: Any) -> None:
        environment = find_environment(options["environment"], options["project"])
        view = self.make_view(options)
        if not environment.thaw():
            view.say("There was nothing to thaw.")
        if promote_next(environment, dispatch.wake_for_shard):
            view.say("What waited for it begins.")
        show_freeze(environment, view)
