"""Freezes on a command line."""

from dataclasses import dataclass

from deploy_manager.cli.exits import refuse
from deploy_manager.cli.views.base import Report, View
from deploy_manager.models import Environment


@dataclass(frozen=True)
class FreezeReport(Report):
    """Whether releases may change, and if not, why and until when."""

    environment: Environment

    def print_on(self, view: View) -> None:
        environment = self.environment
        view.remark(
            environment.describe_freeze()
            if environment.is_frozen
            else f"{environment} is not frozen."
        )

    def write_on(self, view: View) -> None:
        environment = self.environment
        until = environment.frozen_until
        view.write(
            "freeze",
            environment=str(environment),
            frozen=environment.is_frozen,
            reason=environment.frozen_reason,
            until=until.isoformat() if until else None,
        )


def check_reason(reason: str) -> str:
    """Return the reason of a freeze. Raises CommandError (exit code 2) if it is blank or long."""
    longest = Environment._meta.get_field("frozen_reason").max_length or 0
    if not reason.strip():
        refuse("Give a reason: it is shown to everybody whose request is refused.")
    if len(reason) > longest:
        refuse(f"The reason is longer than {longest} characters.")
    return reason
