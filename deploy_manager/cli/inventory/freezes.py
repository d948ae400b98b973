"""Freezes on the command line."""

from deploy_manager.cli.deployments.json_lines import JsonLines
from deploy_manager.cli.deployments.terminal import Lines
from deploy_manager.models import Environment


def show_freeze(environment: Environment, view: JsonLines | Lines) -> None:
    """Show whether releases may change, and if not, why and until when."""
    freeze = environment.active_freeze
    if isinstance(view, Lines):
        view.say(freeze.describe() if freeze else f"{environment} is not frozen.")
        return
    view.write(
        "freeze",
        environment=str(environment),
        frozen=freeze is not None,
        reason=freeze.reason if freeze else "",
        until=freeze.until.isoformat() if freeze and freeze.until else None,
    )
