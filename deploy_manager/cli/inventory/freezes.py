"""Freezes on a command line."""

from dataclasses import dataclass

from deploy_manager.cli.exits import refuse
from deploy_manager.cli.views.base import Report, View
from deploy_manager.models import Environment, Freeze


@dataclass(frozen=True)
class FreezeReport(Report):
    """Whether releases may change, and if not, why and until when."""

    environment: Environment

    def print_on(self, view: View) -> None:
        freeze = self.environment.active_freeze
        view.remark(str(freeze.describe()) if freeze else f"{self.environment} is not frozen.")

    def write_on(self, view: View) -> None:
        freeze = self.environment.active_freeze
        view.write(
            "freeze",
            environment=str(self.environment),
            frozen=freeze is not None,
            reason=freeze.reason if freeze else "",
            until=freeze.until.isoformat() if freeze and freeze.until else None,
        )
        state = "frozen" if freeze else "thawed"
        view.write("summary", environment=str(self.environment), state=state)


def describe_begin(still_waiting: int) -> str:
    """Return that the oldest deployment which waited begins, and how many come after it."""
    begins = "The deployment that waited longest begins"
    if not still_waiting:
        return "The deployment that waited begins."
    if still_waiting == 1:
        return f"{begins}; another one waits its turn."
    return f"{begins}; {still_waiting} others wait their turn."


def check_reason(reason: str) -> str:
    """Return the reason of a freeze. Raises CommandError (exit code 2) if it is blank or long."""
    longest = Freeze._meta.get_field("reason").max_length or 0
    if not reason.strip():
        refuse("Give a reason: it is shown to everyone who requests a change.")
    if len(reason) > longest:
        refuse(f"The reason is longer than {longest} characters.")
    return reason
