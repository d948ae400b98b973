"""Stages: which steps run when, and in which wave a server is switched.

A stage is what every host ends before any host begins the next one: a phase of the pipeline, or one
wave of the phases that are run in waves. Steps know the number of their stage.
"""

from collections.abc import Callable, Collection, Iterator, Sequence
from dataclasses import dataclass, field
from itertools import groupby
from typing import Any

from django.utils.translation import gettext_noop

from deploy_manager.deployments.strategy import Strategy, strategy_of
from deploy_manager.models import ROLLBACK_PHASE, Environment, Placement
from deploy_manager.recipes import Phase, Pipeline, Recipe, Scope, get_recipe
from deploy_manager.rollout_size import cut_waves
from deploy_manager.row_checks import check_row

ROLL_BACK = Phase(ROLLBACK_PHASE, gettext_noop("Roll back"), ("activate", "reload", "verify"))
"""What brings a server back that was switched. Its steps are skipped where nothing went wrong."""


@dataclass
class Planned:
    """The fields of each placement's steps, in order, and its wave."""

    steps: dict[Placement, list[dict[str, Any]]] = field(default_factory=dict)
    waves: dict[Placement, int] = field(default_factory=dict)

    def without(self, recipes: Collection[str]) -> "Planned":
        """Return what is left when some recipes are not run."""
        return self._keep(lambda step: step["recipe"] not in recipes)

    def without_rollback(self) -> "Planned":
        """Return what is run where nothing goes wrong."""
        return self._keep(lambda step: step["phase"] != ROLLBACK_PHASE)

    def _keep(self, is_kept: Callable[[dict[str, Any]], bool]) -> "Planned":
        kept = {each: list(filter(is_kept, fields)) for each, fields in self.steps.items()}
        return Planned({each: left for each, left in kept.items() if left}, self.waves)

    def add(
        self, phase: Phase, stage: int, part: Sequence[Placement], everyone: Sequence[Placement]
    ) -> None:
        """Add a phase's steps on a part of the placements, as one stage."""
        for recipe in _recipes(phase):
            for placement in placements_for(recipe, everyone):
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
    check_row(environment, "strategy", "canary", "batch", "max_failures", "role_order")
    for placement in placements:
        check_row(placement, "roles")
    planned = Planned()
    waves = [list(placements)]
    if any(phase.in_waves for phase in pipeline.phases):
        waves = cut_into_waves(environment, strategy_of(environment, pipeline.name), placements)
    planned.waves = {
        placement: number for number, wave in enumerate(waves, 1) for placement in wave
    }
    stage = 1
    for phases in _groups(pipeline):
        parts = waves if phases[0].in_waves else [list(placements)]
        for part in parts:
            for phase in phases:
                planned.add(phase, stage, part, placements)
            stage += 1
    _plan_rollback(pipeline, planned, stage)
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
    ordered = sorted(placements, key=lambda placement: _rank(placement, order))
    groups = [list(group) for _, group in groupby(ordered, lambda each: _rank(each, order))]
    if not strategy.in_waves:
        return groups
    first, *others = groups
    waves = cut_waves(first, strategy.canary, strategy.batch)
    for group in others:
        waves += cut_waves(group, "", strategy.batch)
    return waves


def _rank(placement: Placement, order: Sequence[str]) -> int:
    ranks = [order.index(role) for role in placement.roles if role in order]
    return min(ranks, default=len(order))


def _groups(pipeline: Pipeline) -> Iterator[list[Phase]]:
    """Yield phases one by one, and those that are run in waves together."""
    for in_waves, phases in groupby(pipeline.phases, key=lambda phase: phase.in_waves):
        if in_waves:
            yield list(phases)
        else:
            yield from ([phase] for phase in phases)


def _plan_rollback(pipeline: Pipeline, planned: Planned, stage: int) -> None:
    """Plan the return of each server that will be switched; mostly nobody needs it."""
    switches = [
        placement
        for placement, steps in planned.steps.items()
        if any(step["recipe"] == "activate" for step in steps)
    ]
    if any(phase.in_waves for phase in pipeline.phases):
        planned.add(ROLL_BACK, stage, switches, switches)


def _recipes(phase: Phase) -> list[Recipe]:
    return [get_recipe(name) for name in phase.recipes]


def placements_for(recipe: Recipe, placements: Sequence[Placement]) -> list[Placement]:
    """Return where a recipe runs: by role, and on the first only when it runs once."""
    fitting = [placement for placement in placements if recipe.applies_to(placement.roles)]
    match recipe.scope:
        case Scope.ONCE:
            return fitting[:1]
        case Scope.ONCE_PER_ROLE:
            return _first_of_each_role(recipe, fitting)
    return fitting


def _first_of_each_role(recipe: Recipe, placements: Sequence[Placement]) -> list[Placement]:
    roles = recipe.roles or {role for placement in placements for role in placement.roles}
    firsts = {
        next((each for each in placements if role in each.roles), None) for role in sorted(roles)
    }
    return [placement for placement in placements if placement in firsts]
