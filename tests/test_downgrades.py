"""A plan names what changes; what an upgrade or a fix brought is taken back by who agrees only."""

import json
import re
from typing import Any

import pytest

from deploy_manager.cli.views.terminal import Lines
from deploy_manager.deployments.choices import retry
from deploy_manager.deployments.plan import Plan, make_plan
from deploy_manager.deployments.request import request
from deploy_manager.exceptions import RequestRefused
from deploy_manager.models import Deployment, State, UpgradeState
from deploy_manager.packages.downgrades import confirmed_in
from deploy_manager.packages.overrides import let_go
from tests.commands import Worker, call, call_and_be_refused, events
from tests.overrides import ADVISORY, HeldSite
from tests.owners import owner
from tests.parts.admin import url, visitor
from tests.parts.admin_run import confirmed, run_page
from tests.releases import activate

pytestmark = [pytest.mark.django_db, pytest.mark.usefixtures("deaf")]
BACK = {"name": "shopkit", "before": "1.0.2", "after": "1.0"}


@pytest.fixture
def deaf(worker: Worker) -> None:
    """Nobody takes up what is asked for."""
    worker.is_deaf = True


@pytest.fixture
def given_up(held: HeldSite) -> HeldSite:
    """An upgrade to 1.0.2 serves and was let go: the next deployment takes it back."""
    held.serve("helper==1.0", "shopkit==1.0.2", repository=("helper==1.0", "shopkit==1.0"))
    held.hold("1.0.2", "1.0", fixes=[ADVISORY])
    let_go(held.environment, "shopkit", by="me", reason="it breaks the till")
    return held


def planned(plan: Plan) -> dict[str, tuple[str, str, bool, bool, tuple[str, ...]]]:
    return {
        pin.name: (pin.before, pin.after, pin.goes_back, pin.is_taken_back, pin.advisories)
        for pin in plan.pins
    }


@pytest.mark.parametrize(
    ("served", "pinned", "vulnerable", "pin"),
    [
        ("1.0", "1.1", "", ("1.0", "1.1", False, False, ())),
        ("1.0", "1.1", "1.1", ("1.0", "1.1", False, False, (ADVISORY,))),
        ("1.1", "1.0", "", ("1.1", "1.0", True, False, ())),
        ("1.1", "1.0", "1.0", ("1.1", "1.0", True, True, (ADVISORY,))),
        ("1.1", "1.1rc1", "1.1rc1", ("1.1", "1.1rc1", True, True, (ADVISORY,))),
        ("1!1.0", "2.0", "2.0", ("1!1.0", "2.0", True, True, (ADVISORY,))),
        ("1.0+ours", "1.0", "", ("1.0+ours", "1.0", True, False, ())),
    ],
)
def test_a_plan_marks_what_goes_back_and_which_advisory_returns(
    held: HeldSite, served: str, pinned: str, vulnerable: str, pin: Any
) -> None:
    held.serve("helper==1.0", f"shopkit=={served}")
    held.pin("helper==1.0", f"shopkit=={pinned}")
    if vulnerable:
        held.is_vulnerable(vulnerable)
    assert planned(make_plan(held.environment)) == {"shopkit": pin}


def test_a_fix_of_an_upgrade_is_taken_back_by_a_higher_version_without_it(held: HeldSite) -> None:
    held.serve("helper==1.0", "shopkit==1.0.2")
    held.hold("1.0.2", "1.0", fixes=[ADVISORY])
    held.pin("helper==1.0", "shopkit==2.0")
    held.is_vulnerable("2.0")
    pin = planned(make_plan(held.environment))["shopkit"]
    assert pin == ("1.0.2", "2.0", False, True, (ADVISORY,))


@pytest.mark.parametrize("state", [UpgradeState.SUCCEEDED, UpgradeState.ROLLED_BACK])
def test_what_an_upgrade_brought_before_there_were_overrides_counts_too(
    held: HeldSite, state: UpgradeState
) -> None:
    held.serve("helper==1.0", "shopkit==1.0")
    stage = held.upgrade("helper==1.0", "shopkit==1.0.2", state=state)
    stage.moves = [{"name": "shopkit", "before": "1.0", "after": "1.0.2"}, "junk", {"name": 3}]
    stage.save()
    held.serve("helper==1.0", "shopkit==1.1")
    (pin,) = make_plan(held.environment).pins
    assert (pin.goes_back, pin.is_taken_back) == (True, state == UpgradeState.SUCCEEDED)
    assert pin.undoes == ("1.0.2" if pin.is_taken_back else "")


def test_a_version_that_an_upgrade_moved_down_from_is_taken_back_by_going_up(
    held: HeldSite,
) -> None:
    held.serve("helper==1.0", "shopkit==1.0.2")
    held.pin("helper==1.0", "shopkit==1.1")
    held.hold("1.0.2", "1.1")
    assert not make_plan(held.environment).pins
    let_go(held.environment, "shopkit", by="me", reason="1.1 was mended")
    (pin,) = make_plan(held.environment).taken_back
    assert (pin.undoes, pin.goes_back) == ("1.0.2", False)


@pytest.mark.parametrize(
    ("pinned", "vulnerable", "undoes"),
    [
        ("1.0", "", "1.0.2"),
        ("1.0", "1.0", "1.0.2"),
        ("1.0.2", "", ""),
        ("1.1", "", ""),
        ("1.1", "1.1", ""),
    ],
)
def test_a_package_that_was_dropped_comes_back_with_what_an_upgrade_had_brought(
    held: HeldSite, pinned: str, vulnerable: str, undoes: str
) -> None:
    served = held.serve("helper==1.0")
    how: dict[str, Any] = {"ended_how": "dropped", "ended_at": served.created_at}
    held.hold("1.0.2", "1.0", fixes=[ADVISORY], **how)
    held.pin("helper==1.0", f"shopkit=={pinned}")
    if vulnerable:
        held.is_vulnerable(vulnerable)
    (pin,) = make_plan(held.environment).pins
    assert (pin.before, pin.after, pin.undoes) == ("", pinned, undoes)
    assert pin.is_taken_back == bool(undoes or vulnerable)
    if pin.is_taken_back:
        assert ADVISORY in pin.advisories
        with pytest.raises(RequestRefused, match=f"shopkit - → {pinned}"):
            held.prepared()
    else:
        held.prepared()


def test_a_version_that_an_upgrade_moved_down_from_does_not_come_back_unseen(
    held: HeldSite,
) -> None:
    served = held.serve("helper==1.0")
    held.hold("1.0.2", "1.1", ended_how="dropped", ended_at=served.created_at)
    held.pin("helper==1.0", "shopkit==1.1")
    (pin,) = make_plan(held.environment).taken_back
    assert pin.undoes == "1.0.2"


def test_a_package_that_no_upgrade_touched_is_added_without_a_question(held: HeldSite) -> None:
    held.serve("helper==1.0")
    held.is_vulnerable("1.0")
    (pin,) = make_plan(held.environment).pins
    assert (pin.is_taken_back, pin.advisories) == (False, (ADVISORY,))


SHA, OTHER = (f"sha256:{letter * 64}" for letter in "ab")
HASHED = f" --hash={SHA}"


@pytest.mark.parametrize(
    ("served", "pinned", "details"),
    [
        (f"shopkit==1.0{HASHED}", f"shopkit==1.0 --hash={OTHER}", ["file"]),
        (f"shopkit==1.0{HASHED}", f"shopkit==1.0{HASHED} --hash={OTHER}", ["file"]),
        (f"shopkit==1.0{HASHED}", f"shopkit==1.0{HASHED}", []),
        (f"shopkit[fast]==1.0{HASHED}", f"shopkit==1.0{HASHED}", ["extras"]),
        (
            f"shopkit==1.0{HASHED}",
            f'shopkit==1.0 ; python_version < "3.99"{HASHED}',
            ["marker"],
        ),
        (
            f"shopkit==1.0{HASHED}",
            f'shopkit[fast]==1.0 ; python_version < "3.99" --hash={OTHER}',
            ["file", "extras", "marker"],
        ),
        (f"shopkit[fast]==1.0{HASHED}", f"shopkit==1.1 --hash={OTHER}", ["extras"]),
    ],
)
def test_a_plan_shows_what_changes_without_the_version(
    held: HeldSite, served: str, pinned: str, details: list[str]
) -> None:
    held.serve(f"helper==1.0{HASHED}", served)
    held.pin(f"helper==1.0{HASHED}", pinned)
    found = [(pin.name, [*pin.details]) for pin in make_plan(held.environment).pins]
    assert found == ([("shopkit", details)] if details else [])
    told = events(call("deploy", "production", "--dry-run", "--json"))[0]
    assert [pin["details"] for pin in told["pins"]] == ([details] if details else [])


def test_people_see_another_file_of_the_same_version(held: HeldSite) -> None:
    held.serve(f"helper==1.0{HASHED}", f"shopkit[fast]==1.0{HASHED}")
    held.pin(f"helper==1.0{HASHED}", f'shopkit==1.0 ; python_version < "3.99" --hash={OTHER}')
    assert "shopkit 1.0, another file, other extras, another marker" in call(
        "deploy", "production", "--dry-run"
    )
    page = visitor("deployer").get(run_page(held.inventory)).content.decode()
    for piece in ("same version", "another file", "other extras", "another marker"):
        assert piece in page


def test_what_one_server_alone_would_lose_is_reported_too(held: HeldSite) -> None:
    upgraded = held.serve("helper==1.0", "shopkit==1.0.2")
    held.hold("1.0.2", "1.0", ended_how="let_go", ended_at=upgraded.created_at)
    for name in ("two", "three"):
        held.inventory.add_server(name)
    ahead = held.environment.placements.get(server__name="one")
    held.serve("helper==1.0", "shopkit==1.0")
    ahead.active_release = upgraded
    ahead.save()
    assert [pin.as_json() for pin in make_plan(held.environment).taken_back] == [BACK]
    assert not make_plan(held.environment, servers=["two"]).taken_back


def test_a_plan_shows_what_holds_and_what_ends(held: HeldSite) -> None:
    held.hold("1.0.2", "1.0", why="it greets strangers")
    held.hold("1.0", "0.9", name="helper")
    plan = make_plan(held.environment)
    assert {each.name: (each.holds, each.repository) for each in plan.overrides} == {
        "shopkit": (True, "1.0"),
        "helper": (False, "1.0"),
    }
    printed = call("deploy", "production", "--no-wait")
    assert "shopkit 1.0.2 holds: the repository has 1.0 (it greets strangers)" in printed
    assert "helper 1.0 ends: the repository has 1.0" in printed


def test_a_command_names_what_changes(held: HeldSite) -> None:
    held.serve("helper==1.0", "gone==3.0", "shopkit==1.1")
    held.pin("helper==2.0", "new==1.0", "shopkit==1.0")
    printed = call("deploy", "production", "--no-wait")
    for line in (
        "helper 1.0 → 2.0\n",
        "gone 3.0 → -, removed",
        "new - → 1.0, added",
        "shopkit 1.1 → 1.0, goes back",
    ):
        assert line in printed
    told = events(call("deploy", "production", "--dry-run", "--json"))[0]
    assert {pin["name"]: pin["goes_back"] for pin in told["pins"]} == {
        "helper": False,
        "gone": False,
        "new": False,
        "shopkit": True,
    }


@pytest.mark.parametrize("words", [[], ["--json"]])
def test_without_a_terminal_a_flag_is_needed_to_take_an_upgrade_back(
    given_up: HeldSite, words: list[str]
) -> None:
    told = call_and_be_refused("deploy", "production", *words)
    for piece in ("shopkit 1.0.2 → 1.0", ADVISORY, "--take-back"):
        assert piece in told
    assert not Deployment.objects.exists()
    call("deploy", "production", "--no-wait", "--take-back", *words)
    deployment = Deployment.objects.get()
    assert deployment.take_back == [BACK]
    assert given_up.pins_of_the_next(deployment)["shopkit"] == "1.0"


@pytest.mark.parametrize(("answer", "is_asked_for"), [("y", True), ("", False), ("no", False)])
def test_on_a_terminal_it_is_asked(
    given_up: HeldSite, monkeypatch: pytest.MonkeyPatch, answer: str, is_asked_for: bool
) -> None:
    asked: list[str] = []

    def ask(_view: object, question: str) -> str:
        asked.append(question)
        return answer

    monkeypatch.setattr("sys.stdin.isatty", lambda: True, raising=False)
    monkeypatch.setattr(Lines, "ask", ask)
    if is_asked_for:
        call("deploy", "production", "--no-wait")
    else:
        call_and_be_refused("deploy", "production", "--no-wait")
    assert Deployment.objects.exists() == is_asked_for
    assert re.match(r"Take back shopkit 1\.0\.2 → 1\.0", asked[0])


def test_a_dry_run_shows_it_and_asks_nothing(given_up: HeldSite) -> None:
    printed = call("deploy", "production", "--dry-run")
    assert "takes back what an upgrade or a fix brought: shopkit" in printed


@pytest.mark.parametrize(
    "rows",
    [
        [],
        [{"name": "shopkit", "before": "1.0.2", "after": "1.0.1"}],
        [{"name": "shopkit", "before": "1.0.2"}],
        {"name": "shopkit"},
        ["shopkit", None, [], {"name": [], "before": {}, "after": 1}],
        "shopkit",
    ],
)
def test_the_worker_takes_back_no_more_than_was_confirmed(given_up: HeldSite, rows: Any) -> None:
    deployment = given_up.request()
    Deployment.objects.filter(pk=deployment.pk).update(take_back=rows)
    deployment.refresh_from_db()
    with pytest.raises(RequestRefused, match=r"shopkit 1\.0\.2 → 1\.0"):
        given_up.prepared(deployment)
    given_up.prepared(given_up.request(take_back=[BACK]))


def test_what_is_confirmed_is_read_as_it_was_written() -> None:
    assert confirmed_in([BACK, 7]) == {("shopkit", "1.0.2", "1.0")}


def test_a_retry_takes_back_what_was_agreed_to_and_nothing_newer(given_up: HeldSite) -> None:
    first = given_up.request(take_back=[BACK])
    first.end(State.FAILED)
    first.host_runs.update(state=State.FAILED)
    assert retry(first)[1].take_back == [BACK]
    given_up.hold("1.0.2", "1.0")
    assert retry(first)[1].take_back == []


def test_the_button_to_retry_takes_no_upgrade_back(held: HeldSite) -> None:
    old = held.serve("helper==1.0", "shopkit==1.0")
    first = held.request(commit=held.repository.head)
    first.end(State.FAILED)
    first.host_runs.update(state=State.FAILED)
    Deployment.objects.filter(pk=first.pk).update(release=old)
    held.serve("helper==1.0", "shopkit==1.0.2")
    held.hold("1.0.2", "1.0")
    page = visitor("deployer").post(url("deployment_retry", first.pk), follow=True)
    assert "shopkit 1.0.2 → 1.0" in page.content.decode()
    assert Deployment.objects.count() == 1


def test_a_rollback_says_what_it_takes_back_and_that_it_comes_again(held: HeldSite) -> None:
    before = held.serve("helper==1.0", "shopkit==1.0")
    after = held.serve("helper==1.0", "shopkit==1.0.2")
    held.environment.placements.update(active_release=None)
    for release in (before, after):
        activate(held.inventory, release)
    held.environment.placements.update(complete_releases=[before.name, after.name])
    held.hold("1.0.2", "1.0", fixes=[ADVISORY])
    page = visitor("deployer").get(run_page(held.inventory, "rollback")).content.decode()
    assert "the next deployment restores it" in page
    for heading in ("Version", "Release", "Why", "What happens to it"):
        assert f'data-head="{heading}"' in page, "narrow screens show the table's headings so"
    assert f"vulnerable: {ADVISORY}" in page
    printed = call("rollback", "production", "--no-wait")
    assert f"shopkit 1.0.2 → 1.0, goes back, an upgrade brought 1.0.2, vulnerable: {ADVISORY}" in (
        printed
    )
    assert "The next deployment installs it again" in printed
    deployment = Deployment.objects.get(recipe="rollback")
    assert deployment.take_back == [BACK]
    held.prepared(deployment)
    assert held.live() == {"shopkit": "1.0.2"}


def test_after_a_rollback_the_override_brings_the_upgrade_again_until_it_is_let_go(
    held: HeldSite,
) -> None:
    held.pin("helper==1.0", "shopkit==1.0")
    held.serve("helper==1.0", "shopkit==1.0")  # as a rollback leaves it
    held.hold("1.0.2", "1.0")
    (again,) = make_plan(held.environment).pins
    assert (again.name, again.before, again.after) == ("shopkit", "1.0", "1.0.2")
    let_go(held.environment, "shopkit", by="me", reason="1.0.2 breaks the till")
    assert not make_plan(held.environment).pins


def sent(given_up: HeldSite, **changes: str) -> dict[str, Any]:
    """What the page sends; without changes nothing was ticked."""
    head = given_up.repository.head
    shown = {"shown_take_back": json.dumps([BACK]), "shown_servers": "one"} | changes
    return confirmed(given_up.inventory, head, servers=["one"], **shown)


def test_the_page_shows_it_and_wants_a_tick(given_up: HeldSite) -> None:
    client = visitor("deployer")
    page = client.get(run_page(given_up.inventory)).content.decode()
    for piece in (
        "downgraded",
        "an upgrade installed 1.0.2",
        "shopkit 1.0.2 → 1.0",
        f'name="e{given_up.environment.pk}-take_back"',
        "&quot;name&quot;: &quot;shopkit&quot;",
    ):
        assert piece in page
    refused = client.post(run_page(given_up.inventory), sent(given_up))
    assert "tick the box to confirm it" in refused.content.decode()
    assert not Deployment.objects.exists()
    client.post(run_page(given_up.inventory), sent(given_up, take_back="on"))
    assert Deployment.objects.get().take_back == [BACK]


@pytest.mark.parametrize("shown", ["", "[]", "not json", '["shopkit"]', "{}", '[{"name": 1}]'])
def test_a_page_that_hides_it_confirms_nothing(given_up: HeldSite, shown: str) -> None:
    client = visitor("deployer")
    changes = {"take_back": "on", "shown_take_back": shown}
    client.post(run_page(given_up.inventory), sent(given_up, **changes))
    deployment = Deployment.objects.get()
    assert deployment.take_back == []
    with pytest.raises(RequestRefused):
        given_up.prepared(deployment)


def test_a_schedule_takes_nothing_back(given_up: HeldSite) -> None:
    deployment = request(
        given_up.environment,
        "deploy",
        source="schedule",
        requested_by_name="nightly",
        user=owner(),
    )
    with pytest.raises(RequestRefused, match="deploy it by hand"):
        given_up.prepared(deployment)
