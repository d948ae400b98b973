"""`manage.py upgrade`: what it shows, what it asks for, and how it ends."""

import threading
from collections.abc import Iterator
from datetime import UTC, datetime

import pytest
from django.core.management import CommandError
from django.db import connection
from django.utils import timezone

from deploy_manager import dispatch
from deploy_manager.cli.deployments.waves import Course
from deploy_manager.models import (
    Advisory,
    AuditedVersion,
    Deployment,
    Environment,
    Release,
    Shard,
    Upgrade,
)
from deploy_manager.packages.pins import replace_pins
from deploy_manager.requirements.pins import Pin
from tests.commands import Worker, call, call_and_be_refused, call_and_fail, events
from tests.parts.matrices import few
from tests.upgrades import Site4

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.usefixtures("worker")]
ON = ("--environment", "production")


def know_against(name: str, version: str, fixed_in: str) -> None:
    """Let an advisory be known of a version, and nothing against what else serves."""
    advisory = Advisory.objects.create(
        identifier="GHSA-1", package=name, fixed_in=[fixed_in], summary="It leaks."
    )
    audited = AuditedVersion.objects.create(name=name, version=version, checked_at=timezone.now())
    audited.advisories.add(advisory)
    AuditedVersion.objects.create(name="helper", version="1.0", checked_at=timezone.now())


def test_a_dry_run_shows_what_would_move_and_asks_for_nothing(four: Site4) -> None:
    four.index.add("shopkit", "1.1")
    printed = call("upgrade", "shopkit==1.1", *ON, "--dry-run")
    assert "shopkit" in printed
    assert "1.1" in printed
    assert "asked for" in printed
    assert "2020-01-01" in printed
    assert not Upgrade.objects.exists()


def test_it_is_seen_through_to_the_end(four: Site4) -> None:
    four.index.add("shopkit", "1.1")
    printed = call("upgrade", "shopkit==1.1", *ON, "--reason", "It is better")
    assert "succeeded" in printed
    assert four.everywhere("shopkit==1.1")
    assert Upgrade.objects.get().reason == "It is better"


def test_a_failure_ends_it_with_an_exit_code_and_everything_back(four: Site4) -> None:
    four.index.add("shopkit", "2.0")
    (four.folder("one") / "ill").touch()
    code, printed = call_and_fail("upgrade", "shopkit", *ON)
    assert code == 1
    assert "rolled back" in printed
    assert four.everywhere("shopkit==1.0")


def test_security_moves_what_is_known_to_be_vulnerable_only(four: Site4) -> None:
    for version in ("1.0.1", "1.1"):
        four.index.add("shopkit", version, requires=("helper",))
    four.index.add("helper", "1.1")
    know_against("shopkit", "1.0", fixed_in="1.0.1")
    printed = call("upgrade", *ON, "--security")
    assert "fixes GHSA-1" in printed
    assert "Unknown" not in printed
    assert four.everywhere("shopkit==1.0.1")
    assert four.everywhere("helper==1.0")


def test_security_says_what_nobody_looked_up(four: Site4) -> None:
    printed = call("upgrade", *ON, "--security")
    assert "Unknown, since advisories were not looked up: helper 1.0, shopkit 1.0." in printed
    assert "Nothing to do" in printed


def test_patch_goes_no_further(four: Site4) -> None:
    for version in ("1.0.3", "1.1"):
        four.index.add("shopkit", version, requires=("helper",))
    call("upgrade", *ON, "--patch")
    assert four.everywhere("shopkit==1.0.3")


def test_nothing_newer_is_given(four: Site4) -> None:
    assert "nothing to do" in call("upgrade", "shopkit", *ON)
    assert not Deployment.objects.filter(upgrade_stage__isnull=False).exists()


def test_lines_for_programs(four: Site4) -> None:
    four.index.add("shopkit", "1.1", requires=("helper",))
    lines = events(call("upgrade", "shopkit", *ON, "--json"))
    assert lines[0]["event"] == "plan"
    assert lines[0]["moves"][0]["after"] == "1.1"
    assert lines[-1] == {
        "event": "summary",
        "upgrade": Upgrade.objects.get().pk,
        "state": "succeeded",
        "message": "",
        "environments": {"shop/production": "succeeded"},
    }


def test_left_alone_it_goes_on(four: Site4, worker: Worker) -> None:
    four.index.add("shopkit", "1.1")
    assert "the admin shows its progress" in call("upgrade", "shopkit", *ON, "--no-wait")
    for thread in worker.threads:
        thread.join()
    assert four.see_through(Upgrade.objects.get()).state == "succeeded"


@pytest.mark.parametrize(
    ("words", "why"),
    few(
        ((), "Name packages, like"),
        (("shopkit>=1",), "write it like django or django==5.2.8"),
        (("shop kit",), "is not a package"),
        (("nowhere",), "nowhere is not among the pins of shop/production."),
        (("shopkit==9",), "shopkit"),
        first=3,
    ),
)
def test_what_cannot_be_is_refused(four: Site4, words: tuple[str, ...], why: str) -> None:
    assert why in call_and_be_refused("upgrade", *words, *ON)
    assert not Upgrade.objects.exists()


@pytest.mark.parametrize("option", ["--soak", "--cooldown"])
@pytest.mark.parametrize("text", ["-1", "7", "soon"])
def test_a_duration_without_its_unit_is_refused(option: str, text: str) -> None:
    with pytest.raises(CommandError, match="is not a duration: write one like 30s, 10m, 2h or 7d"):
        call("upgrade", "shopkit", *ON, option, text)


def freeze(four: Site4) -> str:
    """Freeze it; return what everyone is to see."""
    four.environment.freeze("Exams", "boss", datetime(2099, 1, 4, 8, tzinfo=UTC))
    why = str(four.environment.describe_freeze())
    assert why.startswith("shop/production is frozen by boss until 2099-01-04 ")
    return why


def test_what_has_to_wait_says_so_before_anything_else_and_goes_on_later(
    four: Site4, worker: Worker, monkeypatch: pytest.MonkeyPatch
) -> None:
    def wake_for_shard(pk: int) -> bool:
        return worker.wake(Shard.objects.get(pk=pk).deployment_id)

    monkeypatch.setattr(dispatch, "wake_for_shard", wake_for_shard)
    monkeypatch.setattr("deploy_manager.broker.is_reconciled", lambda: False)
    was_seen_waiting = threading.Event()
    known = Course.turns

    def turns(course: Course, deployment: Deployment) -> Iterator[str]:
        yield from known(course, deployment)
        was_seen_waiting.set()

    monkeypatch.setattr(Course, "turns", turns)
    four.index.add("shopkit", "1.1")
    why = freeze(four)

    def thaw() -> None:
        assert was_seen_waiting.wait(30)
        call("thaw", "production")
        connection.close()  # this thread's own

    thawing = threading.Thread(target=thaw)
    thawing.start()
    printed = call("upgrade", "shopkit", *ON)
    thawing.join()
    assert f"… shop/production: waiting\n{why}\n" in printed
    assert "`manage.py reconcile --forever 5s` starts waiting" in printed
    assert "waits no longer" in printed
    assert printed.index(why) < printed.index("waits no longer") < printed.index("succeeded")
    assert "running" not in printed.partition(why)[0]
    assert four.everywhere("shopkit==1.1")


def test_who_does_not_wait_is_told_what_it_waits_for(four: Site4) -> None:
    four.index.add("shopkit", "1.1")
    why = freeze(four)
    printed = call("upgrade", "shopkit", *ON, "--no-wait")
    assert f"shop/production: {why}" in printed
    Upgrade.objects.all().delete()
    lines = events(call("upgrade", "shopkit", *ON, "--no-wait", "--json"))
    requested = next(line for line in lines if line["event"] == "requested")
    assert (requested["state"], requested["message"]) == ("waiting", f"shop/production: {why}")
    assert (lines[-1]["event"], lines[-1]["state"]) == ("summary", "waiting")
    assert lines[-1]["message"] == requested["message"]


def test_a_dry_run_tells_of_a_freeze_and_of_closed_times(four: Site4) -> None:
    four.index.add("shopkit", "1.1")
    words = ("upgrade", "shopkit", *ON, "--dry-run")
    assert "would have to wait" not in call(*words)
    why = freeze(four)
    assert f"It would have to wait: {why}" in call(*words)
    assert events(call(*words, "--json"))[0]["not_now"] == why
    four.environment.thaw("boss")
    tomorrow = ("mon", "tue", "wed", "thu", "fri", "sat", "sun")[(timezone.now().weekday() + 2) % 7]
    Environment.objects.update(windows=[f"{tomorrow} 09:00-09:01"])
    assert "may be changed at its allowed times only" in call(*words)


def test_what_would_undo_an_upgrade_that_nobody_named_has_to_be_agreed_to(four: Site4) -> None:
    four.index.add("shopkit", "1.1", requires=("helper",))
    four.index.add("helper", "1.1")
    call("upgrade", "helper==1.1", *ON)
    Environment.objects.update(pins_from=Environment.PinsFrom.ROWS)
    replace_pins(four.environment, [Pin("helper", "1.0"), Pin("shopkit", "1.0")])
    said = call_and_be_refused("upgrade", "shopkit==1.1", *ON)
    assert "This would take back what an upgrade or a fix brought: helper 1.1 → 1.0" in said
    assert four.everywhere("helper==1.1")
    call("upgrade", "shopkit==1.1", *ON, "--take-back")
    assert four.everywhere("helper==1.0")
    call("upgrade", "helper==1.1", *ON)
    call("upgrade", "helper==1.0", *ON)
    assert four.everywhere("helper==1.0")


def test_pins_that_failed_before_and_versions_that_go_back_are_marked(four: Site4) -> None:
    four.index.add("shopkit", "2.0")
    (four.folder("one") / "ill").touch()
    call_and_fail("upgrade", "shopkit==2.0", *ON)
    assert Release.objects.exclude(bad_since=None).exists()
    printed = call("upgrade", "shopkit==2.0", *ON, "--dry-run")
    assert "has been marked as bad on shop/production since" in printed
    assert "goes back" not in printed
    four.index.add("shopkit", "0.9")
    printed = call("upgrade", "shopkit==0.9", *ON, "--dry-run")
    assert "goes back" in printed
    assert "marked as bad" not in printed
    (plan, *_others) = events(call("upgrade", "shopkit==0.9", *ON, "--dry-run", "--json"))
    assert plan["bad"] == ""
    assert {move["name"]: move["goes_back"] for move in plan["moves"]}["shopkit"]
