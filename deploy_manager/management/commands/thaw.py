"""Let releases change again on an environment."""

from typing import Any

from deploy_manager import tasks
from deploy_manager.management.base import EnvironmentCommand
from deploy_manager.management.environments import find_environment
from deploy_manager.management.freezes import show_freeze
from deploy_manager.runner import promote_next


class Command(EnvironmentCommand):
    help = "Let releases change again on an environment that was frozen."

    def handle(self, *args: Any, **options: Any) -> None:
        environment = find_environment(options["environment"], options["project"])
        view = self.make_view(options)
        if not environment.thaw():
            view.say("There was nothing to thaw.")
        if promote_next(environment, tasks.ring_slice):
            view.say("What waited for it begins.")
        show_freeze(environment, view)
