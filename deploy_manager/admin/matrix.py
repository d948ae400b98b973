"""A deployment as a table: a row for each server, a column for each step, grouped by phase."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import groupby

from django.utils.translation import gettext as _

from deploy_manager.admin.badges import spell_duration
from deploy_manager.exceptions import UnknownRecipe
from deploy_manager.models import Deployment, HostRun, Step
from deploy_manager.recipes import get_story

_Key = tuple[str, str]
"""A phase and a recipe: what makes two servers' steps stand in one column."""


@dataclass(frozen=True)
class Phase:
    """Neighbouring columns under one heading."""

    title: str
    columns: tuple[str, ...]
    """The titles of its steps."""


@dataclass(frozen=True)
class Cell:
    """One step on one server, and how long it took or takes so far."""

    step: Step
    duration: str


@dataclass(frozen=True)
class Row:
    """One server; None where it has no such step."""

    host_run: HostRun
    cells: tuple[Cell | None, ...]


@dataclass(frozen=True)
class Matrix:
    phases: tuple[Phase, ...]
    rows: tuple[Row, ...]


def make_matrix(deployment: Deployment) -> Matrix:
    """Return the servers and steps of a deployment, in two queries."""
    runs = list(deployment.host_runs.order_by("pk").prefetch_related("steps"))
    steps_of = {run.pk: sorted(run.steps.all(), key=lambda step: step.number) for run in runs}
    keys = _merge([_key(step) for step in steps] for steps in steps_of.values())
    titles = {_key(step): _(step.title) for steps in steps_of.values() for step in steps}
    return Matrix(
        phases=tuple(_phases(deployment, keys, titles)),
        rows=tuple(Row(run, _cells(steps_of[run.pk], keys)) for run in runs),
    )


def _key(step: Step) -> _Key:
    return step.phase, step.recipe


def _cells(steps: Sequence[Step], keys: Sequence[_Key]) -> tuple[Cell | None, ...]:
    by_key = {
        _key(step): Cell(step, spell_duration(step.started_at, step.finished_at)) for step in steps
    }
    return tuple(by_key.get(key) for key in keys)


def _merge(orders: Iterable[Sequence[_Key]]) -> list[_Key]:
    """One order that agrees with each server's own."""
    merged: list[_Key] = []
    for order in orders:
        place = 0
        for key in order:
            if key not in merged:
                merged.insert(place, key)
            place = merged.index(key) + 1
    return merged


def _phases(
    deployment: Deployment, keys: Sequence[_Key], titles: dict[_Key, str]
) -> Iterable[Phase]:
    names = _phase_titles(deployment.recipe)
    for name, group in groupby(keys, key=lambda key: key[0]):
        yield Phase(names.get(name, name), tuple(titles[key] for key in group))


def _phase_titles(recipe: str) -> dict[str, str]:
    """Empty for a recipe that is no longer installed: history stays readable without it."""
    try:
        return {phase.name: _(phase.title) for phase in get_story(recipe).phases}
    except UnknownRecipe:
        return {}
