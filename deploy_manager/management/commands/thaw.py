"""`manage.py thaw`: allow releases to change again on an environment."""

from typing import Any

from django.utils import timezone

from deploy_manager import dispatch
from deploy_manager.auditing import noting
from deploy_manager.cli.base import EnvironmentCommand
from deploy_manager.cli.inventory.freezes import FreezeReport, describe_begin
from deploy_manager.models import Deployment, State
from deploy_manager.models.freezes import ENDED
from deploy_manager.reconcile import promote_next
from deploy_manager.requester import requester_name


class Command(EnvironmentCommand):
    help = "Thaw an environment that was frozen: releases may change again."

    def handle(self, *args: Any, **options: Any) -> None:
        environment = self.find_environment(options)
        view = self.make_view(options)
        with noting(environment.freezes.open(), *ENDED):
            is_thawed = environment.thaw(requester_name())
        if not is_thawed:
            view.say("It was not frozen.")
        # Also then: an earlier command may have been killed between the two.
        if promote_next(environment, dispatch.wake_for_shard):
            waiting = Deployment.objects.filter(environment=environment, state=State.WAITING)
            # Not those that wait for a time of their own.
            in_line = waiting.exclude(not_before__gt=timezone.now())
            view.say(describe_begin(in_line.count()))
        view.show(FreezeReport(environment))
