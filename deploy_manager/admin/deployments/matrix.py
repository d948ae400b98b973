"""A deployment as a table: a row for each server, a column for each step.

Rows are grouped by wave, columns by phase.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import groupby

from django.utils.translation import gettext as _

from deploy_manager.admin.badges import spell_duration
from deploy_manager.models import ROLLBACK_PHASE, Deployment, HostRun, Step

_Key = tuple[str, str]
"""A phase and a recipe: steps of several servers with the same key share a column."""


@dataclass(frozen=True)
class Phase:
    """Adjacent columns under one heading."""

    title: str
    columns: tuple[str, ...]
    """The titles of its steps."""

    is_rollback: bool = False
    """Whether its steps run only if something fails; the page hides it until then."""


@dataclass(frozen=True)
class Cell:
    """One step on one server, and how long it took or has taken so far."""

    step: Step | None
    """None if the server has no such step."""

    duration: str = ""
    is_rollback: bool = False


@dataclass(frozen=True)
class Row:
    """One server."""

    host_run: HostRun
    cells: tuple[Cell, ...]


@dataclass(frozen=True)
class Wave:
    """Servers that are activated together."""

    number: int
    rows: tuple[Row, ...]


@dataclass(frozen=True)
class Matrix:
    phases: tuple[Phase, ...]
    waves: tuple[Wave, ...]
    went_back: bool
    """Whether a step of the rollback ran."""

    @property
    def rows(self) -> tuple[Row, ...]:
        return tuple(row for wave in self.waves for row in wave.rows)

    @property
    def width(self) -> int:
        """The number of columns, including that of the servers."""
        return 1 + sum(len(phase.columns) for phase in self.phases)


def make_matrix(deployment: Deployment) -> Matrix:
    """Return the servers and steps of a deployment, in two queries."""
    runs = list(deployment.host_runs.order_by("wave", "pk").prefetch_related("steps"))
    # Sorted here, as order_by() would discard what was prefetched.
    steps_of = {run.pk: sorted(run.steps.all(), key=lambda step: step.number) for run in runs}
    steps = [step for of_host in steps_of.values() for step in of_host]
    keys = _merge([_key(step) for step in of_host] for of_host in steps_of.values())
    titles = {_key(step): (_(step.phase_name), _(step.title)) for step in steps}
    rows = []
    for run in runs:
        by_key = {_key(step): step for step in steps_of[run.pk]}
        cells = []
        for key in keys:
            step = by_key.get(key)
            duration = spell_duration(step.started_at, step.finished_at) if step else ""
            cells.append(Cell(step, duration, is_rollback=key[0] == ROLLBACK_PHASE))
        rows.append(Row(run, tuple(cells)))
    waves = groupby(rows, key=lambda row: row.host_run.wave)
    return Matrix(
        phases=tuple(_phases(keys, titles)),
        waves=tuple(Wave(number, tuple(group)) for number, group in waves),
        went_back=any(step.is_rollback and step.started_at for step in steps),
    )


def _key(step: Step) -> _Key:
    return step.phase, step.recipe


def _merge(orders: Iterable[Sequence[_Key]]) -> list[_Key]:
    """Return one order of all keys that agrees with that of each server."""
    merged: list[_Key] = []
    for order in orders:
        place = 0
        for key in order:
            if key not in merged:
                merged.insert(place, key)
            place = merged.index(key) + 1
    return merged


def _phases(keys: Sequence[_Key], titles: Mapping[_Key, tuple[str, str]]) -> Iterator[Phase]:
    """Yield the columns of each phase, with the titles stored when it was requested."""
    for name, group in groupby(keys, key=lambda key: key[0]):
        found = [titles[key] for key in group]
        yield Phase(found[0][0], tuple(title for _phase, title in found), name == ROLLBACK_PHASE)
