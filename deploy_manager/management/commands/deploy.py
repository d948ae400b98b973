"""Deploy an environment."""

from typing import Any

from deploy_manager.management.door import DoorCommand


class Command(DoorCommand):
    help = "Deploy an environment and watch it; exit code 0 only if every server succeeded."

    def handle(self, *args: Any, **options: Any) -> None:
        self.run_recipe("deploy", options)
