"""A dry run on a console: the commands for each server, stage by stage."""

from itertools import groupby

from rich.text import Text

from deploy_manager.cli.asking import refusals
from deploy_manager.cli.deployments.json_lines import JsonLines
from deploy_manager.cli.deployments.terminal import Lines
from deploy_manager.cli.text import clean
from deploy_manager.deployments.dry_run import DryStep, dry_run
from deploy_manager.deployments.request import DeploymentOptions
from deploy_manager.models import Environment


def rehearse(
    environment: Environment, recipe: str, wanted: DeploymentOptions, view: JsonLines | Lines
) -> None:
    """Show what would be run on each server. No server is touched, no row written.

    Raises CommandError where it would be refused as it stands.
    """
    with refusals():
        steps = dry_run(environment, recipe, wanted)
        for _stage, of_stage in groupby(steps, key=lambda step: (step.stage, step.heading)):
            _show_stage(list(of_stage), view)
    view.say("Nothing was run.")


def _show_stage(steps: list[DryStep], view: JsonLines | Lines) -> None:
    if isinstance(view, Lines):
        view.tell(Text(steps[0].heading, "bold"))
    for step in steps:
        _show(step, view)


def _show(step: DryStep, view: JsonLines | Lines) -> None:
    if isinstance(view, JsonLines):
        view.write(
            "dry_run",
            server=step.server,
            stage=step.stage,
            phase=step.phase,
            step=step.recipe,
            lines=step.lines,
        )
        return
    view.tell(Text(f"[{step.server}] {step.title}"))
    for line in step.lines:
        view.tell(Text(f"[{step.server}]   {clean(line)}"))
