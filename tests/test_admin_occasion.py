"""When what was confirmed runs: now, in its turn, at a time; and what it would be, dry."""

import re
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from django.utils import timezone

from deploy_manager.models import Deployment, Environment, Release, State
from tests.inventory import Inventory
from tests.parts.admin import url, visitor, write_deployment
from tests.parts.admin_run import confirmed, make_served_shop, run_page


@pytest.fixture
def shop(tmp_path: Path, db: None) -> Inventory:
    return make_served_shop(tmp_path)


def soon(after: timedelta) -> str:
    """A moment as the browser's own field for it sends one, on the environment's clock: UTC."""
    return f"{timezone.now() + after:%Y-%m-%dT%H:%M}"


def test_a_busy_environment_is_waited_for_when_asked_so(shop: Inventory) -> None:
    live = write_deployment(shop.environment)
    deployer = visitor("deployer")
    page = deployer.get(run_page(shop, "ping")).content.decode()
    assert 'name="_confirm"' not in page
    assert "Ping on shop/production as soon as possible" in page
    sent = confirmed(shop, confirmed="later") | {"_wait": "1"}
    del sent["_confirm"]
    deployer.post(run_page(shop, "ping"), sent)
    waiting = Deployment.objects.exclude(pk=live.pk).get()
    assert waiting.state == State.WAITING
    assert "is busy" in waiting.message


def test_a_freeze_is_reported_and_the_request_waits_for_its_end(shop: Inventory) -> None:
    shop.environment.freeze("Sale <b>", "ana")
    deployer = visitor("deployer")
    page = deployer.get(run_page(shop)).content.decode()
    assert "Not now:" in page
    assert "Sale &lt;b&gt;" in page
    assert 'name="_confirm"' not in page
    assert 'name="_wait"' in page
    assert 'name="_confirm"' in deployer.get(run_page(shop, "ping")).content.decode()


def test_what_has_to_wait_is_left_out_by_the_other_button(shop: Inventory) -> None:
    write_deployment(shop.environment)
    visitor("deployer").post(run_page(shop, "ping"), confirmed(shop, confirmed="later"))
    assert Deployment.objects.count() == 1


def test_a_time_to_come_lets_it_wait_for_that(shop: Inventory) -> None:
    moment = soon(timedelta(hours=3))
    sent = confirmed(shop) | {"not_before": moment}
    visitor("deployer").post(run_page(shop, "ping"), sent)
    deployment = Deployment.objects.get()
    assert deployment.state == State.WAITING
    assert deployment.not_before is not None
    assert f"{deployment.not_before:%Y-%m-%dT%H:%M}" == moment


def test_a_time_is_typed_and_shown_on_the_environments_own_clock(shop: Inventory) -> None:
    Environment.objects.update(time_zone="Europe/Paris")
    deployer = visitor("deployer")
    assert "Time zone: Europe/Paris." in deployer.get(run_page(shop, "ping")).content.decode()
    sent = confirmed(shop) | {"not_before": "2099-11-30T08:00"}
    page = deployer.post(run_page(shop, "ping"), sent, follow=True).content.decode()
    assert Deployment.objects.get().not_before == datetime(2099, 11, 30, 7, tzinfo=UTC)
    assert '11/30/2099 8 a.m. <span class="dm-quiet">Europe/Paris</span>' in page


def test_a_time_for_environments_with_several_clocks_is_on_the_readers(shop: Inventory) -> None:
    project = shop.environment.project
    other = Environment.objects.create(
        project=project, name="other", deploy_path="/srv/o", time_zone="Europe/Paris"
    )
    both = url("environment_run", "ping", on=f"{shop.environment.pk},{other.pk}")
    page = visitor("deployer").get(both).content.decode()
    assert f"Time zone: {timezone.get_current_timezone_name()}." in page


@pytest.mark.parametrize("moment", ["soon", "2001-01-01T00:00"])
def test_a_time_that_is_none_or_has_passed_is_reported(shop: Inventory, moment: str) -> None:
    sent = confirmed(shop) | {"not_before": moment}
    page = visitor("deployer").post(run_page(shop, "ping"), sent).content.decode()
    assert "errorlist" in page
    assert "changed since it was shown" not in page
    assert not Deployment.objects.exists()


def test_the_plan_stands_wave_by_wave(shop: Inventory) -> None:
    Environment.objects.update(strategy="waves", canary="1", batch="1", role_order=["db"], pause=60)
    shop.add_server("base", roles=("db",))
    page = visitor("deployer").get(run_page(shop)).content.decode()
    order = ["Wave 1 of 3", 'value="base"', "Wave 2 of 3", 'value="one"', "Wave 3 of 3"]
    assert re.search(".*".join(order), page, re.DOTALL)
    assert "Pause between waves: 60 seconds." in page
    sent = confirmed(shop, Release.objects.get().commit) | {"_look": "1"}
    del sent["_confirm"]
    page = visitor("owner").post(run_page(shop), sent).content.decode()
    assert re.search(r'Wave 2 of 2.*left out.*value="base"', page, re.DOTALL)


def test_a_dry_run_shows_each_command_and_touches_nothing(shop: Inventory) -> None:
    commit = Release.objects.get().commit
    sent = confirmed(shop, commit) | {"_rehearse": "1"}
    del sent["_confirm"]
    page = visitor("deployer").post(run_page(shop), sent).content.decode()
    rehearsal = page.split("dm-rehearsal")[1]
    for piece in ("Prepare", "Activate", "<strong>two</strong>", "releases/new-release-"):
        assert piece in rehearsal
    assert 'name="_confirm"' in rehearsal
    assert not Deployment.objects.exists()
    assert not (shop.folder / "one" / "releases").exists()


def test_a_dry_run_needs_the_right_to_deploy(shop: Inventory) -> None:
    sent = confirmed(shop) | {"_rehearse": "1"}
    assert visitor("viewer").post(run_page(shop, "ping"), sent).status_code == 403


def test_waiting_in_line_for_several_environments_is_one_button(shop: Inventory) -> None:
    project = shop.environment.project
    other = Environment.objects.create(project=project, name="other", deploy_path="/srv/o")
    other.placements.create(server=shop.environment.placements.all()[0].server)
    write_deployment(other)
    both = url("environment_run", "ping", on=f"{shop.environment.pk},{other.pk}")
    page = visitor("deployer").get(both).content.decode()
    assert "Ping on shop/production" in page
    assert "Ping on 2 environments as soon as possible" in page
