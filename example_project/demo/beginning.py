"""How the demo begins: with a deployment, or with what an earlier demo has left.

Between two demos people deploy, roll back, let overrides go and freeze. What the servers have then
is what was chosen last: it is served again. Only a commit that is new in the repository is
deployed, and nothing is ever taken back.
"""

from collections.abc import Callable

from django.utils import timezone

from deploy_manager.deployments import freezes
from deploy_manager.deployments.ending import cancel
from deploy_manager.deployments.pipelines import pipeline_for
from deploy_manager.deployments.plan import Plan, make_plan
from deploy_manager.exceptions import DeployManagerError
from deploy_manager.models import Deployment, Environment
from deploy_manager.models.deployments import CONVERGE, DEPLOY

Run = Callable[..., int]
"""Runs a command of `manage.py`; returns its exit code."""


def begin(environment: Environment, run: Run) -> list[str]:
    """Let the sites serve; return why none of them can."""
    serving = _names(environment, serving=True)
    plan = make_plan(environment, DEPLOY)
    why = _why_not(plan)
    if not serving:
        if why:
            return [f"Nothing is deployed: {why}"]
        return _deploy(environment, run)
    if not why and not _is_known(plan):
        print("The repository has a new commit:")
        return _deploy(environment, run)
    print(why or f"{environment} has had this commit before: nothing is deployed.")
    print("The sites serve what they served last:", flush=True)
    if run("recipe", str(environment), "reload", *_servers(serving)):
        if why:
            return ["Some sites did not start."]
        print("Some sites did not start. The repository is deployed instead:", flush=True)
        return _deploy(environment, run)
    if new := _names(environment, serving=False):
        _converge(environment, new, run)
    return []


def cancel_leftovers(environment: Environment) -> bool:
    """Cancel deployments of an earlier demo that was killed; return whether one is still busy.

    One that waits until it may run was requested by a person, and goes on waiting.
    """
    busy = Deployment.objects.busy().filter(environment=environment)
    for left in busy.all():
        cancel(left, "the demo")
    return busy.exists()


def why_not_now(environment: Environment, recipe: str = DEPLOY) -> str:
    """Return the freeze or the allowed times that keep a recipe from running; blank: none."""
    try:
        pipeline = pipeline_for(environment, recipe)
        return str(freezes.why_not_now(environment, pipeline, timezone.now()))
    except DeployManagerError as error:
        return str(error)


def _deploy(environment: Environment, run: Run) -> list[str]:
    return ["The deployment did not succeed."] if run("deploy", str(environment)) else []


def _converge(environment: Environment, servers: list[str], run: Run) -> None:
    names = ", ".join(servers)
    if why := why_not_now(environment, CONVERGE):
        print(f"Nothing serves on {names}: {why}")
        return
    print(f"Nothing serves on {names} yet. Made like the others:", flush=True)
    run("converge", str(environment), *servers)


def _why_not(plan: Plan) -> str:
    """Return why the demo does not deploy the repository; blank: it may."""
    if plan.problems:
        return " ".join(plan.problems)
    if why := why_not_now(plan.environment):
        return why
    if plan.to_confirm:
        pins = "; ".join(map(str, plan.to_confirm))
        return (
            f"A deployment would take back {pins}. `manage.py deploy {plan.environment}` asks"
            " whether you agree; the demo takes nothing back."
        )
    if plan.bad and plan.commit_now:
        return str(plan.bad)
    return ""


def _is_known(plan: Plan) -> bool:
    """Return whether the commit of the repository was deployed before."""
    found = plan.environment.releases.filter(commit=plan.commit.hash if plan.commit else "")
    return found.exists()


def _names(environment: Environment, *, serving: bool) -> list[str]:
    placements = environment.placements.filter(active_release__isnull=not serving)
    return list(dict.fromkeys(placements.values_list("server__name", flat=True)))


def _servers(names: list[str]) -> list[str]:
    return [word for name in names for word in ("--server", name)]
