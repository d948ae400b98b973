"""However a deployment is stopped, what stands on it and on each of its servers is true."""

import signal
from collections import Counter
from io import StringIO
from typing import Any

import pytest
from django.core.exceptions import ValidationError
from django.core.management import CommandError, call_command
from django.db import OperationalError

from deploy_manager.deployments import orders, rollout
from deploy_manager.deployments import prepare as preparing
from deploy_manager.deployments.host_work import HostWork
from deploy_manager.deployments.run import run
from deploy_manager.management.commands import reconcile as command
from deploy_manager.models import Deployment, Environment, HostRun, State, Step
from deploy_manager.signals import deployment_ended
from tests.commands import call
from tests.inventory import Inventory, claim

pytestmark = pytest.mark.django_db(transaction=True)


def run_it(inventory: Inventory, recipe: str = "ping") -> Deployment:
    deployment = inventory.request(recipe)
    run(deployment.pk)
    deployment.refresh_from_db()
    return deployment


def hosts_of(deployment: Deployment) -> dict[str, str]:
    return {host.server_name: host.state for host in deployment.host_runs.all()}


@pytest.mark.parametrize("bind", ["localhost", "8000", "unix", "127.0.0.1:web", " : "])
def test_an_address_that_only_a_form_refuses_is_refused_before_any_server(
    inventory: Inventory, bind: str
) -> None:
    site = inventory.environment
    site.bind = bind
    with pytest.raises(ValidationError, match="host:port"):
        site.clean_fields()
    Environment.objects.update(bind=bind, health_path="/")
    deployment = run_it(inventory)
    assert deployment.state == State.FAILED
    assert "host:port, like 127.0.0.1:8001" in deployment.message
    assert deployment.message.endswith("No server was touched.")
    assert hosts_of(deployment) == {"one": State.SKIPPED}


ERRORS: dict[str, Exception] = {
    "value": ValueError("not enough values to unpack"),
    "key": KeyError("gone"),
    "words": UnicodeEncodeError("utf-8", "\udcff", 0, 1, "surrogates not allowed"),
    "database": OperationalError("disk I/O error"),
}


@pytest.mark.parametrize("error", ERRORS.values(), ids=ERRORS)
@pytest.mark.parametrize(
    "where", [(preparing, "_check_rows"), (orders, "site_of")], ids=["rows", "site"]
)
def test_an_error_of_ours_before_any_server_loses_none(
    inventory: Inventory,
    monkeypatch: pytest.MonkeyPatch,
    error: Exception,
    where: tuple[Any, str],
) -> None:
    def fail(*args: Any, **named: Any) -> None:
        raise error

    deployment = inventory.request("ping")
    monkeypatch.setattr(*where, fail)
    run(deployment.pk)
    deployment.refresh_from_db()
    assert deployment.state == State.FAILED
    assert type(error).__name__ in deployment.message
    assert deployment.message.endswith("No server was touched.")
    assert hosts_of(deployment) == {"one": State.SKIPPED}


def test_an_error_of_ours_around_one_server_ends_that_one_only(
    inventory: Inventory, monkeypatch: pytest.MonkeyPatch
) -> None:
    inventory.add_server("two")
    run_step = HostWork._run_step

    def fail_on_one(work: HostWork, step: Step) -> None:
        if work.run.server_name == "one":
            raise TypeError("a mark that is none")
        run_step(work, step)

    monkeypatch.setattr(HostWork, "_run_step", fail_on_one)
    deployment = run_it(inventory)
    assert deployment.state == State.PARTLY_FAILED
    assert hosts_of(deployment) == {"one": State.FAILED, "two": State.SUCCEEDED}
    assert "TypeError: a mark that is none." in deployment.message


def test_an_error_of_ours_between_two_stages_says_what_each_server_came_through(
    inventory: Inventory, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*args: Any, **options: Any) -> None:
        raise ValueError("'many' is no share")

    monkeypatch.setattr(rollout, "_finish", fail)
    told: list[str] = []

    def listen(deployment: Deployment, **details: object) -> None:
        told.append(deployment.state)

    deployment_ended.connect(listen)
    try:
        deployment = run_it(inventory)
    finally:
        deployment_ended.disconnect(listen)
    assert hosts_of(deployment) == {"one": State.SUCCEEDED}
    assert [deployment.state] == told == [State.PARTLY_FAILED]
    assert deployment.message == "ValueError: 'many' is no share."


Q, S, R, F = State.QUEUED, State.SUCCEEDED, State.RUNNING, State.FAILED
ENDS: list[tuple[list[tuple[str, State]], list[State], bool, State]] = [
    ([("prepare", Q), ("activate", Q)], [Q], False, State.SKIPPED),
    ([("prepare", S), ("activate", Q)], [Q], False, State.SKIPPED),
    ([("prepare", S), ("activate", R)], [Q], False, State.LOST),
    ([("prepare", S), ("activate", S), ("tidy", Q)], [Q], True, State.FAILED),
    ([("prepare", S), ("activate", S), ("tidy", S)], [Q], True, State.SUCCEEDED),
    ([("prepare", S), ("activate", S), ("tidy", F)], [S, Q], True, State.FAILED),
    ([("one", S), ("another", Q)], [], False, State.FAILED),
]
"""Steps, those of the rollback, whether it was switched, and how the server ends."""


@pytest.mark.parametrize(("steps", "back", "was_switched", "ended"), ENDS)
def test_a_server_ends_as_what_its_steps_came_to(
    inventory: Inventory,
    steps: list[tuple[str, State]],
    back: list[State],
    was_switched: bool,
    ended: State,
) -> None:
    held = claim(inventory.request("ping"))
    host = held.deployment.host_runs.get()
    host.steps.all().delete()
    planned = [("run", *step) for step in steps]
    planned += [("roll_back", "activate", each) for each in back]
    for number, (phase, recipe, state) in enumerate(planned, 1):
        finished = None if state in (Q, R) else host.deployment.created_at
        host.steps.create(
            number=number, phase=phase, recipe=recipe, state=state, finished_at=finished
        )
    HostRun.objects.filter(pk=host.pk).update(state=State.RUNNING, was_switched=was_switched)
    assert held.finish(State.FAILED, "The right is gone.")
    host.refresh_from_db()
    assert host.state == ended
    assert ("It serves the new release" in host.message) is (
        was_switched and ended == State.FAILED and S not in back
    )


NOT_WORDS = "caf\udce9"
"""Bytes of another encoding, as Python hands them in from a command line."""


@pytest.mark.parametrize(
    "said",
    [
        ("deploy", NOT_WORDS),
        ("deploy", "production", "--ref", NOT_WORDS),
        ("deploy", "production", "--server", NOT_WORDS),
        ("recipe", NOT_WORDS, "production"),
        ("rollback", "production", "--to", NOT_WORDS),
        ("retry", NOT_WORDS),
        ("cancel", NOT_WORDS),
        ("releases", NOT_WORDS),
        ("upgrade", "production", NOT_WORDS),
        ("import_requirements", "production", NOT_WORDS),
    ],
    ids=lambda said: ascii(said),
)
def test_words_in_another_encoding_are_refused_in_words(
    inventory: Inventory, said: tuple[str, ...]
) -> None:
    with pytest.raises(CommandError):
        call(*said)


def test_a_reason_in_another_encoding_is_kept_as_far_as_it_is_text(inventory: Inventory) -> None:
    call("freeze", "production", "--reason", f"the {NOT_WORDS} opens")
    assert inventory.environment.freezes.get().reason == "the caf? opens"


def test_nothing_but_a_signal_ends_reconciling_for_ever(
    inventory: Inventory, monkeypatch: pytest.MonkeyPatch
) -> None:
    pauses: list[float] = []
    errors = [OperationalError("away"), OperationalError("away"), RuntimeError("odd"), None]

    def reconcile(wake: object) -> Counter[str]:
        if error := errors[len(pauses)]:
            raise error
        return Counter()

    def wait(endings: object, pause: float) -> bool:
        pauses.append(pause)
        return len(pauses) == len(errors)

    monkeypatch.setattr(command, "reconcile", reconcile)
    monkeypatch.setattr(signal, "sigtimedwait", wait)
    monkeypatch.setattr(signal, "pthread_sigmask", lambda *args: None)
    told = StringIO()
    call_command("reconcile", "--forever", "5s", stderr=told)
    assert pauses == [10, 20, 40, 5]
    assert told.getvalue().splitlines() == [
        "The deployments can't be read: away",
        "Reconcile stopped with RuntimeError: odd",
    ]
