"""One bad row stops no other: each job of `reconcile` goes on beside it, and says what is wrong."""

from collections.abc import Callable
from dataclasses import dataclass
from datetime import timedelta
from importlib import import_module
from typing import Any

import pytest
from django.core.exceptions import PermissionDenied
from django.db import DatabaseError, connection, models
from django.utils import timezone

from deploy_manager.deployments import announcing, scheduling
from deploy_manager.models import Deployment, Environment, Problem, Shard, State
from deploy_manager.models.problems import ProblemQuerySet
from deploy_manager.packages import gathering
from deploy_manager.packages import resolutions as resolving
from deploy_manager.packages.gatherers import Gatherers
from deploy_manager.packages.gathering import gather
from deploy_manager.upgrades import handing_back, policies, stage_deployments
from tests.loop import Pair

pytestmark = pytest.mark.django_db
reconciling: Any = import_module("deploy_manager.reconcile")
"""The module; `reconcile` is its function."""


def _sql() -> None:
    connection.cursor().execute("SELECT 1 FROM nowhere")


def _raise(error: Exception) -> Callable[[], None]:
    def fail() -> None:
        raise error

    return fail


FAULTS: dict[str, Callable[[], None]] = {
    "eve may not": _raise(PermissionDenied("eve may not deploy shop/bad.")),
    "ValueError": _raise(ValueError("not enough values to unpack")),
    "UnicodeEncodeError": _raise(UnicodeEncodeError("utf-8", "\udcff", 0, 1, "no surrogates")),
    "nowhere": _sql,
}
"""By words that stand in the problem."""


@dataclass(frozen=True)
class Case:
    """What a job has to do with a site, where it can be hurt, and how one sees that it was done."""

    arrange: Callable[[Pair, Environment], Any]
    where: Any
    """None: what the reconcile loop was given to call."""

    name: str
    was_done: Callable[[Any, list[int]], bool]


def _state(row: models.Model) -> str:
    row.refresh_from_db()
    return str(row.state)  # type: ignore[attr-defined]


def _outcome(upgrade: Any) -> str:
    upgrade.policy_run.refresh_from_db()
    return str(upgrade.policy_run.outcome)


CASES: dict[str, Case] = {
    "woke workers again": Case(
        lambda pair, site: pair.ask(site).shards.get(), None, "", lambda row, told: row.pk in told
    ),
    "ended abandoned deployments": Case(
        lambda pair, site: pair.silent(site).deployment,
        Deployment,
        "end",
        lambda row, told: _state(row) == State.LOST,
    ),
    "opened waves": Case(
        lambda pair, site: pair.pausing(site),
        reconciling,
        "open_after_pause",
        lambda row, told: row.shards.get().pk in told,
    ),
    "ended overdue deployments": Case(
        lambda pair, site: pair.overdue(site),
        Deployment,
        "pass_by",
        lambda row, told: _state(row) == State.CANCELLED,
    ),
    "ended deployments that nobody approved": Case(
        lambda pair, site: pair.unapproved(site),
        reconciling,
        "expire",
        lambda row, told: _state(row) == State.CANCELLED,
    ),
    "wrote scheduled deployments": Case(
        lambda pair, site: pair.schedule(site),
        scheduling,
        "request",
        lambda row, told: row.deployments.exists(),
    ),
    "ran policies": Case(
        lambda pair, site: pair.policy(site),
        policies,
        "_write_due",
        lambda row, told: row.runs.exists(),
    ),
    "had questions answered": Case(
        lambda pair, site: pair.question(site),
        resolving,
        "_wake",
        lambda row, told: type(row).objects.get(pk=row.pk).woken_at is not None,
    ),
    "went on with upgrades": Case(
        lambda pair, site: pair.upgrade(site),
        stage_deployments,
        "serving_release",
        lambda row, told: row.stages.get().deployment is not None,
    ),
    "handed pins back": Case(
        lambda pair, site: pair.succeeded(site),
        handing_back,
        "hand_back",
        lambda row, told: f"upgrade-{row.pk}" in _outcome(row),
    ),
    "queued waiting deployments": Case(
        lambda pair, site: pair.waiting(site),
        reconciling,
        "why_wait_on",
        lambda row, told: _state(row) == State.QUEUED,
    ),
    "forgot what was seen of moved servers": Case(
        lambda pair, site: pair.moved(site),
        reconciling,
        "forget_moved",
        lambda row, told: type(row).objects.get(pk=row.pk).is_unknown,
    ),
    "noted what webhooks are told": Case(
        lambda pair, site: pair.untold(site),
        announcing,
        "note_end",
        lambda row, told: row.outgoing_deliveries.exists(),
    ),
    "looked at lost servers": Case(
        lambda pair, site: pair.lost(site), None, "", lambda row, told: row.pk in told
    ),
}


def _hurt(
    case: Case, bad: tuple[Any, ...], fault: Callable[[], None], patch: pytest.MonkeyPatch
) -> Callable[[int], object]:
    """Let the job fail at the bad site; return what the reconcile loop is to call."""
    inner = getattr(case.where, case.name) if case.where else lambda pk: None

    def failing(row: Any, *args: Any, **options: Any) -> Any:
        if row in bad:
            fault()
        return inner(row, *args, **options)

    if case.where is None:
        return failing
    patch.setattr(case.where, case.name, failing)
    return lambda pk: None


@pytest.mark.parametrize(
    "words",
    [
        pytest.param(words, marks=[pytest.mark.database] if fault is _sql else [])
        for words, fault in FAULTS.items()
    ],
)
@pytest.mark.parametrize("job", CASES)
def test_a_row_that_fails_keeps_no_other_of_its_job_waiting(
    pair: Pair, monkeypatch: pytest.MonkeyPatch, job: str, words: str
) -> None:
    case = CASES[job]
    bad, good = (case.arrange(pair, site) for site in pair.both)
    with monkeypatch.context() as patch:
        call = _hurt(case, (bad, bad.pk, pair.bad), FAULTS[words], patch)
        told = pair.reconcile(call)
        assert case.was_done(good, told)
        written = Problem.objects.get()
        assert (written.job, words in written.text) == (job, True)
        long_ago = timezone.now() - timedelta(hours=1)
        Problem.objects.update(since=long_ago)
        Shard.objects.update(woken_at=None)
        pair.reconcile(call)
        assert Problem.objects.get().since == long_ago, "the same once more changes nothing"
    Shard.objects.update(woken_at=None)
    told = pair.reconcile()
    assert case.was_done(bad, told)
    assert not Problem.objects.exists(), "what works again is forgotten"


def test_every_job_of_the_reconcile_is_tried() -> None:
    assert CASES.keys() == {*reconciling.JOBS, reconciling.LOOKS} - {
        "deleted problems of deleted rows",
        "removed what is past its retention",
    }


@pytest.mark.parametrize("job", reconciling.JOBS)
def test_a_job_that_fails_keeps_no_other_from_being_done(
    pair: Pair, monkeypatch: pytest.MonkeyPatch, job: str
) -> None:
    shard, due = pair.ask(pair.bad).shards.get(), pair.schedule(pair.good)
    monkeypatch.setitem(reconciling.JOBS, job, lambda wake: _sql())
    told = pair.reconcile()
    assert (shard.pk in told) is (job != "woke workers again")
    assert due.deployments.exists() is (job != "wrote scheduled deployments")
    assert [each.job for each in Problem.objects.filter(kind="")] == [job]


def test_workers_are_woken_before_anything_that_people_wrote_is_read(pair: Pair) -> None:
    assert next(iter(reconciling.JOBS)) == "woke workers again"


@pytest.mark.parametrize("job", gathering.JOBS)
def test_facts_are_gathered_beside_a_job_that_fails(
    pair: Pair, monkeypatch: pytest.MonkeyPatch, job: str
) -> None:
    monkeypatch.setitem(gathering.JOBS, job, lambda gatherers: _sql())
    told = gather(Gatherers(lambda *keys: True, lambda: True, lambda: True))
    assert ("asked servers for their packages" in told) is (
        job != "asked servers for their packages"
    )
    assert [each.job for each in Problem.objects.all()] == [job]


def test_a_database_that_is_away_is_reported_of_and_not_written_about(
    pair: Pair, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(ProblemQuerySet, "note", lambda *args, **options: _sql())
    monkeypatch.setitem(reconciling.JOBS, "ran policies", lambda wake: _sql())
    with pytest.raises(DatabaseError):
        pair.reconcile()
