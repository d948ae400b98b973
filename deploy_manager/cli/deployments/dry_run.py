"""A dry run: the commands for each server, stage by stage."""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import groupby

from rich.text import Text

from deploy_manager.cli.exits import refusals
from deploy_manager.cli.text import clean
from deploy_manager.cli.views.base import Report, View
from deploy_manager.deployments.checking import why_not_now
from deploy_manager.deployments.dry_run import DryStep, dry_run
from deploy_manager.deployments.pipelines import pipeline_for
from deploy_manager.deployments.request import DeploymentOptions
from deploy_manager.models import Environment
from deploy_manager.recipes import Uses

ON_AN_EMPTY_SERVER = "No server was asked: these are the commands for a server that is still empty."
ON_A_LIVE_SERVER = "No server was asked: what depends on its answers may run other commands."


def show_dry_run(
    environment: Environment, recipe: str, options: DeploymentOptions, view: View
) -> None:
    """Show the commands that would run. No server is contacted and no row is written.

    Raises CommandError if the request would be refused.
    """
    with refusals():
        steps = dry_run(environment, recipe, options)
        # Shown inside, since steps are only worked out, and may be refused, as they are read.
        for _stage, of_stage in groupby(steps, key=lambda step: (step.stage, step.heading)):
            view.show(StageReport(tuple(of_stage)))
    pipeline = pipeline_for(environment, recipe)
    if why := why_not_now(environment, pipeline, options):
        view.say(f"Not now: {why}")
    view.say(ON_AN_EMPTY_SERVER if pipeline.uses is Uses.NEW else ON_A_LIVE_SERVER)
    view.say("Nothing was run.")
    view.write("summary", deployment=None, state="planned", message="")


@dataclass(frozen=True)
class StageReport(Report):
    """The commands of one stage."""

    steps: Sequence[DryStep]

    def print_on(self, view: View) -> None:
        view.print(Text(self.steps[0].heading, "bold"))
        for step in self.steps:
            view.print(Text(f"[{step.server}] {step.title}"))
            for line in step.lines:
                view.print(Text(f"[{step.server}]   {clean(line)}"))

    def write_on(self, view: View) -> None:
        for step in self.steps:
            view.write(
                "dry_run",
                server=step.server,
                stage=step.stage,
                phase=step.phase,
                step=step.recipe,
                lines=step.lines,
            )
