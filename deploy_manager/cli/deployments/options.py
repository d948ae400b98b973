"""What the words of a command line ask for: from `--to`, `--at` and the like to a wish."""

import re
from collections.abc import Sequence
from dataclasses import dataclass, replace

from deploy_manager.cli.moments import parse_moment
from deploy_manager.deployments.choices import choose_release, converge, retry
from deploy_manager.deployments.plan import Plan
from deploy_manager.deployments.request import Wish
from deploy_manager.exceptions import RequestRefused
from deploy_manager.models import Deployment, Environment

DEPLOY, ROLLBACK, CONVERGE = "deploy", "rollback", "converge"

MIGRATION = re.compile(r"[a-z_][a-z0-9_]*\.[0-9A-Za-z_]+", re.ASCII)


@dataclass(frozen=True)
class Said:
    """What somebody typed beyond an environment and a recipe."""

    ref: str = ""
    servers: Sequence[str] = ()
    reason: str = ""
    to: str = ""
    """A release's name, or the beginning of its commit."""

    forced_migrations: Sequence[str] = ()
    waits: bool = False
    at: str = ""


def wish_for(environment: Environment, recipe: str, said: Said) -> Wish:
    """Return what is asked for. Raises RequestRefused."""
    wish = Wish(
        ref=said.ref,
        servers=said.servers,
        reason=said.reason,
        forced_migrations=_check_migrations(said.forced_migrations),
        waits=said.waits,
        not_before=parse_moment(said.at, environment) if said.at else None,
    )
    if recipe == CONVERGE:
        if not said.servers:
            raise RequestRefused("Say which servers are to be made like the others.")
        return replace(wish, release=converge(environment, said.servers).release)
    if recipe == ROLLBACK or said.to:
        return replace(wish, release=choose_release(environment, said.to))
    return wish


def wish_to_retry(deployment: Deployment, said: Said) -> tuple[str, Wish]:
    """Return the recipe and the wish that run a deployment again. Raises RequestRefused."""
    recipe, wish = retry(deployment, said.reason)
    moment = parse_moment(said.at, deployment.environment) if said.at else None
    return recipe, replace(wish, waits=said.waits, not_before=moment)


def as_planned(plan: Plan, wish: Wish) -> Wish:
    """Return the wish for exactly what a plan showed: its commit, and what it takes back.

    To be called once somebody agreed to what is taken back.
    """
    wish = replace(wish, take_back=[pin.as_json() for pin in plan.taken_back])
    if plan.commit is None or wish.release is not None:
        return wish
    return replace(wish, commit=plan.commit.hash)


def _check_migrations(names: Sequence[str]) -> Sequence[str]:
    for name in names:
        if not MIGRATION.fullmatch(name):
            raise RequestRefused(f"{name!r} is no migration: write one like shop.0005_prices.")
    return names
