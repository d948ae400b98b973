"""Let releases change again on an environment that was frozen."""

from typing import Any

from deploy_manager import dispatch
from deploy_manager.cli.asking import who_asks
from deploy_manager.cli.base import EnvironmentCommand
from deploy_manager.cli.inventory.environments import find_environment
from deploy_manager.cli.inventory.freezes import show_freeze
from deploy_manager.reconcile import promote_next


class Command(EnvironmentCommand):
    help = "Let releases change again on an environment that was frozen."

    def handle(self, *args: Any, **options: Any) -> None:
        environment = find_environment(options["environment"], options["project"])
        view = self.make_view(options)
        if not environment.thaw(who_asks()):
            view.say("It was not frozen.")
        if promote_next(environment, dispatch.wake_for_shard):
            view.say("The deployment that waited for it begins.")
        show_freeze(environment, view)
