"""How a deployment spreads over its servers: its stages, its waves, and what a failure does.

A stage is what every host ends before any host begins the next one: a phase of the pipeline, or one
wave of the phases that run in waves. Steps know the number of their stage. All of this is decided
when a deployment is requested and written on its rows: the code that carries it out reads it there.
"""

from collections.abc import Callable, Collection, Iterator, Sequence
from dataclasses import dataclass, field
from itertools import groupby
from typing import Any

from django.utils.translation import gettext_noop

from deploy_manager.deployments.pipelines import pipeline_for
from deploy_manager.models import ROLLBACK_PHASE, Environment, Placement
from deploy_manager.models.deployments import ROLLBACK, UPGRADE
from deploy_manager.models.runs import ACTIVATE
from deploy_manager.recipes import Phase, Pipeline, Recipe, Scope, get_recipe
from deploy_manager.rollout_size import cut_waves
from deploy_manager.row_checks import check_row


def roll_back_phase(environment: Environment) -> Phase:
    """Return what brings back a server that was switched: what a rollback runs in waves.

    Its steps are skipped if nothing went wrong.
    """
    phases = pipeline_for(environment, ROLLBACK).phases
    recipes = tuple(name for phase in phases if phase.in_waves for name in phase.recipes)
    return Phase(ROLLBACK_PHASE, gettext_noop("Roll back"), recipes)


@dataclass(frozen=True)
class Strategy:
    """Sizes are a number of servers or a percentage of them, as on the environment."""

    in_waves: bool
    canary: str
    batch: str
    pause: int
    """Seconds between two waves."""

    max_failures: str
    rolls_back: bool


def strategy_of(environment: Environment, recipe: str) -> Strategy:
    """Return an environment's strategy for a recipe.

    An upgrade always sends a canary first, tolerates no failure and rolls back automatically:
    there may be no one watching it.
    """
    in_waves = environment.strategy == Environment.Strategy.WAVES
    is_upgrade = recipe == UPGRADE
    return Strategy(
        in_waves=in_waves or is_upgrade,
        canary=(environment.canary if in_waves else "") or ("1" if is_upgrade else ""),
        batch=environment.batch if in_waves else "",
        pause=environment.pause,
        max_failures="0" if is_upgrade else environment.max_failures,
        rolls_back=environment.rollback_on_failure or is_upgrade,
    )


@dataclass
class Planned:
    """The fields of each placement's steps, in order, and the placement's wave."""

    steps: dict[Placement, list[dict[str, Any]]] = field(default_factory=dict)
    waves: dict[Placement, int] = field(default_factory=dict)

    @property
    def recipes(self) -> frozenset[str]:
        """The names of all recipes that would run."""
        return frozenset(step["recipe"] for fields in self.steps.values() for step in fields)

    def without(self, recipes: Collection[str]) -> "Planned":
        """Return the plan without some recipes, except those that bring a server back."""
        return self._keep(
            lambda step: step["phase"] == ROLLBACK_PHASE or step["recipe"] not in recipes
        )

    def without_rollback(self) -> "Planned":
        """Return the steps that run if nothing goes wrong."""
        return self._keep(lambda step: step["phase"] != ROLLBACK_PHASE)

    def _keep(self, is_kept: Callable[[dict[str, Any]], bool]) -> "Planned":
        kept = {each: list(filter(is_kept, fields)) for each, fields in self.steps.items()}
        return Planned({each: left for each, left in kept.items() if left}, self.waves)

    def add(
        self, phase: Phase, stage: int, part: Sequence[Placement], everyone: Sequence[Placement]
    ) -> None:
        """Add a phase's steps on a part of the placements, as one stage."""
        for recipe in map(get_recipe, phase.recipes):
            for placement in placements_for(recipe, everyone):
                # Chosen among all placements first: what runs once runs in one wave only.
                if placement not in part:
                    continue
                self.steps.setdefault(placement, []).append(
                    {
                        "phase": phase.name,
                        "phase_title": phase.title,
                        "gate": phase.gate,
                        "in_waves": phase.in_waves,
                        "recipe": recipe.name,
                        "title": recipe.title,
                        "once": recipe.scope is not Scope.EACH_HOST,
                        "stage": stage,
                    }
                )


def plan_steps(
    pipeline: Pipeline, environment: Environment, placements: Sequence[Placement]
) -> Planned:
    """Return what a pipeline would run on these placements, stage by stage. Raises InvalidRow."""
    # The form checks these, but rows are also written around it, and sizes are parsed below.
    check_row(environment, "strategy", "canary", "batch", "max_failures", "role_order")
    for placement in placements:
        check_row(placement, "roles")
    planned = Planned()
    waves = [list(placements)]
    has_waves = any(phase.in_waves for phase in pipeline.phases)
    if has_waves:
        waves = cut_into_waves(environment, strategy_of(environment, pipeline.name), placements)
    planned.waves = {
        placement: number for number, wave in enumerate(waves, 1) for placement in wave
    }
    # In stage 0 what is sent is resolved: see Deployment.write_hosts.
    stage = 1
    for phases in _groups(pipeline):
        parts = waves if phases[0].in_waves else [list(placements)]
        for part in parts:
            for phase in phases:
                planned.add(phase, stage, part, placements)
            stage += 1
    if has_waves:
        # The return of each server that will be switched is planned, too; mostly it is skipped.
        switched = [
            placement
            for placement, steps in planned.steps.items()
            if any(step["recipe"] == ACTIVATE for step in steps)
        ]
        planned.add(roll_back_phase(environment), stage, switched, switched)
    # Phases for some roles only may have added placements out of their order.
    planned.steps = {each: planned.steps[each] for each in placements if each in planned.steps}
    return planned


def cut_into_waves(
    environment: Environment, strategy: Strategy, placements: Sequence[Placement]
) -> list[list[Placement]]:
    """Return the placements in the order in which they are switched, wave by wave.

    Roles that the environment orders come one after the other; a server with several of them goes
    with the first.
    """
    order = environment.role_order

    def rank(placement: Placement) -> int:
        ranks = [order.index(role) for role in placement.roles if role in order]
        return min(ranks, default=len(order))

    # Sorted, since groupby joins neighbours only; and stably, so that the servers' own order stays.
    groups = [list(group) for _, group in groupby(sorted(placements, key=rank), rank)]
    if not strategy.in_waves:
        return groups
    first, *others = groups
    waves = cut_waves(first, strategy.canary, strategy.batch)
    for group in others:
        waves += cut_waves(group, "", strategy.batch)
    return waves


def _groups(pipeline: Pipeline) -> Iterator[list[Phase]]:
    """Yield phases one by one, and neighbours that run in waves together: as one stage a wave."""
    for in_waves, phases in groupby(pipeline.phases, key=lambda phase: phase.in_waves):
        if in_waves:
            yield list(phases)
        else:
            yield from ([phase] for phase in phases)


def placements_for(recipe: Recipe, placements: Sequence[Placement]) -> list[Placement]:
    """Return the placements a recipe runs on: by role, and only the first if it runs once."""
    fitting = [
        placement
        for placement in placements
        if recipe.applies_to(placement.roles) and (placement.has_code or recipe.on_machine)
    ]
    match recipe.scope:
        case Scope.ONCE:
            return fitting[:1]
        case Scope.ONCE_PER_ROLE:
            roles = recipe.roles or {role for each in fitting for role in each.roles}
            firsts = {
                next((each for each in fitting if role in each.roles), None) for role in roles
            }
            return [placement for placement in fitting if placement in firsts]
    return fitting
