"""`fab production upgrade`: the same upgrade, and the process that was started is its worker."""

import threading

import pytest
from django.db import connection
from invoke.exceptions import Exit

from deploy_manager.cli.deployments.following import Interrupts
from deploy_manager.cli.fab.selection import Selection
from deploy_manager.cli.fab.upgrade import UpgradeWorker
from deploy_manager.cli.views.json_lines import JsonLines
from deploy_manager.models import Deployment, Environment, State, Upgrade
from deploy_manager.upgrades.plan import plan_upgrade
from deploy_manager.upgrades.requests import request_upgrade
from tests.commands import call, call_and_be_refused, events
from tests.parts.matrices import few
from tests.parts.own_project import OwnProject
from tests.parts.served import wait_until
from tests.upgrades import Site4

pytestmark = pytest.mark.django_db(transaction=True)


def move(
    selection: Selection,
    *packages: str,
    soak: str = "0",
    dry_run: bool = False,
    **reaches: bool,
) -> None:
    selection.upgrade(packages, reaches, soak, "0", "It is better", dry_run, take_back=False)


@pytest.fixture
def selection(four: Site4) -> Selection:
    made = Selection()
    made.select(four.environment)
    return made


def test_it_is_done_here_without_any_worker(
    four: Site4, selection: Selection, capsys: pytest.CaptureFixture[str]
) -> None:
    four.index.add("shopkit", "1.1")
    move(selection, "shopkit==1.1")
    assert four.everywhere("shopkit==1.1")
    upgrade = Upgrade.objects.get()
    assert (upgrade.source, upgrade.reason, upgrade.state) == ("fab", "It is better", "succeeded")
    printed = capsys.readouterr().out
    assert "shop/production: 2 to move on 4 servers" in printed
    assert "succeeded" in printed


@pytest.mark.long
def test_a_failure_brings_everything_back_and_ends_by_1(four: Site4, selection: Selection) -> None:
    four.index.add("shopkit", "1.0.2")
    four.index.add("shopkit", "2.0")
    (four.folder("three") / "ill").touch()
    with pytest.raises(Exit) as failure:
        move(selection, "shopkit", latest=True)
    assert failure.value.code == 1
    assert Upgrade.objects.get().state == "rolled_back"
    assert four.everywhere("shopkit==1.0")
    move(selection, patch=True, minor=False)
    assert four.everywhere("shopkit==1.0.2")


def test_a_dry_run_and_nothing_to_do_ask_for_nothing(
    four: Site4, selection: Selection, capsys: pytest.CaptureFixture[str]
) -> None:
    move(selection, "shopkit")
    four.index.add("shopkit", "1.1")
    move(selection, "shopkit", dry_run=True)
    move(selection, security=True)
    printed = capsys.readouterr().out
    assert "shop/production: nothing to do." in printed
    assert "1.1" in printed
    assert "nothing is known against what is pinned" in printed
    assert not Upgrade.objects.exists()


@pytest.mark.long
def test_what_has_to_wait_is_begun_when_it_may(
    four: Site4, selection: Selection, capsys: pytest.CaptureFixture[str]
) -> None:
    four.index.add("shopkit", "1.1")
    four.environment.freeze("Exams", "me")

    def thaw() -> None:
        wait_until(lambda: Deployment.objects.filter(state=State.WAITING).exists())
        Environment.objects.get().thaw("me")
        connection.close()  # this thread's own

    thawing = threading.Thread(target=thaw)
    thawing.start()
    move(selection, "shopkit")
    thawing.join()
    assert four.everywhere("shopkit==1.1")
    printed = capsys.readouterr().out
    why = "shop/production is frozen by me until it is thawed: Exams"
    assert f"shop/production: waiting\n{why}\n" in printed
    assert "reconcile" not in printed, "this process begins it itself"


@pytest.mark.long
def test_ctrl_c_cancels_it_and_brings_back_what_was_switched(four: Site4) -> None:
    four.index.add("shopkit", "1.1")
    Environment.objects.update(pause=3600)
    plan = plan_upgrade([four.environment], four.options("shopkit"))
    upgrade = request_upgrade(plan, source="fab", requested_by_name="me@here")

    class Pressed(Interrupts):
        """Pressed once the canary serves."""

        pressed = False

        def take(self) -> bool:
            if self.pressed or "shopkit==1.1" not in four.served("one"):
                return False
            self.pressed = True
            return True

    class Nowhere(JsonLines):
        def write(self, event: str, **values: object) -> None: ...

    ended = UpgradeWorker(upgrade, Nowhere(None), Pressed()).watch()  # type: ignore[arg-type]
    assert ended.state == "cancelled"
    assert four.everywhere("shopkit==1.0")


def test_its_options_are_reported(own_project: OwnProject) -> None:
    _code, printed = own_project.run("fab", "--help", "upgrade")
    options = {"--package", "--security", "--patch", "--minor", "--latest", "--cooldown"}
    assert options <= set(printed.replace("=", " ").split())


@pytest.mark.parametrize(
    ("asked", "why"),
    few(
        (("--patch", "--minor"), "Choose one of --patch, --minor."),
        (("--package=shopkit", "--soak=soon"), "--soak: 'soon' is not a duration"),
        (("--package=shop kit",), "is not a package"),
        ((), "Name packages, like"),
    ),
)
def test_what_cannot_be_meant_is_refused(
    own_project: OwnProject, asked: tuple[str, ...], why: str
) -> None:
    code, printed = own_project.run("fab", "production", "upgrade", *asked)
    assert (code, "Traceback" in printed) == (2, False), printed
    assert why in printed


@pytest.mark.usefixtures("worker")
def test_programs_are_reported_of_what_was_not_asked_for(four: Site4) -> None:
    on = ("--environment", "production", "--json")
    lines = events(call("upgrade", "shopkit", *on))
    assert lines[-1]["environments"] == {"shop/production": "unchanged"}
    four.index.add("shopkit", "1.1")
    lines = events(call("upgrade", "shopkit", *on, "--dry-run"))
    assert (lines[-1]["event"], lines[-1]["state"]) == ("summary", "planned")
    assert call_and_be_refused("upgrade", "shopkit==9", *on)
    lines = events(call("upgrade", "shopkit", *on))
    assert [line["event"] for line in lines][:2] == ["plan", "requested"]
