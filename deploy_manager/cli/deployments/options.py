"""What the words of a command line ask for: from `--to`, `--at` and the like to a request."""

import re
from collections.abc import Sequence
from dataclasses import dataclass, replace

from deploy_manager.cli.moments import parse_moment
from deploy_manager.deployments.choices import choose_release, converge, retry
from deploy_manager.deployments.plan import Plan
from deploy_manager.deployments.request import DeploymentOptions
from deploy_manager.exceptions import RequestRefused
from deploy_manager.models import Deployment, Environment

DEPLOY, ROLLBACK, CONVERGE = "deploy", "rollback", "converge"

MIGRATION = re.compile(r"[a-z_][a-z0-9_]*\.[0-9A-Za-z_]+", re.ASCII)


@dataclass(frozen=True)
class Arguments:
    """What somebody typed beyond an environment and a recipe."""

    ref: str = ""
    servers: Sequence[str] = ()
    reason: str = ""
    to: str = ""
    """A release's name, or the beginning of its commit."""

    forced_migrations: Sequence[str] = ()
    waits: bool = False
    at: str = ""


def options_for(environment: Environment, recipe: str, arguments: Arguments) -> DeploymentOptions:
    """Return what is asked for. Raises RequestRefused."""
    wanted = DeploymentOptions(
        ref=arguments.ref,
        servers=arguments.servers,
        reason=arguments.reason,
        forced_migrations=_check_migrations(arguments.forced_migrations),
        waits=arguments.waits,
        not_before=parse_moment(arguments.at, environment) if arguments.at else None,
    )
    if recipe == CONVERGE:
        if not arguments.servers:
            raise RequestRefused("Say which servers are to be made like the others.")
        return replace(wanted, release=converge(environment, arguments.servers).release)
    if recipe == ROLLBACK or arguments.to:
        return replace(wanted, release=choose_release(environment, arguments.to))
    return wanted


def options_to_retry(deployment: Deployment, arguments: Arguments) -> tuple[str, DeploymentOptions]:
    """Return the recipe and the request that run a deployment again. Raises RequestRefused."""
    recipe, wanted = retry(deployment, arguments.reason)
    moment = parse_moment(arguments.at, deployment.environment) if arguments.at else None
    return recipe, replace(wanted, waits=arguments.waits, not_before=moment)


def as_planned(plan: Plan, wanted: DeploymentOptions) -> DeploymentOptions:
    """Return the request for exactly what a plan showed: its commit, and what it takes back.

    To be called once somebody agreed to what is taken back.
    """
    wanted = replace(wanted, take_back=[pin.as_json() for pin in plan.taken_back])
    if plan.commit is None or wanted.release is not None:
        return wanted
    return replace(wanted, commit=plan.commit.hash)


def _check_migrations(names: Sequence[str]) -> Sequence[str]:
    for name in names:
        if not MIGRATION.fullmatch(name):
            raise RequestRefused(f"{name!r} is no migration: write one like shop.0005_prices.")
    return names
