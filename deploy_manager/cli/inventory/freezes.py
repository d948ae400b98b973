"""A freeze on a console."""

from deploy_manager.cli.deployments.json_lines import JsonLines
from deploy_manager.cli.deployments.terminal import Lines
from deploy_manager.models import Environment


def show_freeze(environment: Environment, view: JsonLines | Lines) -> None:
    """Show whether releases may change, and if not, why and until when."""
    if isinstance(view, Lines):
        free = f"{environment} is not frozen."
        view.say(environment.describe_freeze() if environment.is_frozen else free)
        return
    until = environment.frozen_until
    view.write(
        "freeze",
        environment=str(environment),
        frozen=environment.is_frozen,
        reason=environment.frozen_reason,
        until=until.isoformat() if until else None,
    )
