"""Upgrades in the admin: begun from packages, confirmed as shown, watched and cancelled."""

import re

import pytest
from django.test import Client
from django.urls import reverse
from django.utils import timezone
from pytest_django import Settings

from deploy_manager.models import Environment, Release, Resolution, Upgrade, UpgradeState
from deploy_manager.packages.pins import replace_pins
from deploy_manager.packages.resolutions import KEPT_FOR
from deploy_manager.requirements.pins import Pin
from deploy_manager.upgrades.plan import plan_upgrade
from tests.parts.admin import ObjectRights, make_user, visitor
from tests.parts.matrices import few
from tests.resolutions import post_and_wait
from tests.upgrades import Site4

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.usefixtures("worker")]
ADD = "admin:deploy_manager_upgrade_add"


@pytest.fixture
def shop(four: Site4) -> Site4:
    four.index.add("shopkit", "1.1", requires=("helper",))
    return four


def said(site: Site4, **words: object) -> dict[str, object]:
    """What the form sends."""
    turn = f"turn-{site.environment.pk}"
    return {
        "packages": "shopkit",
        "reach": "latest",
        "soak": 0,
        "cooldown": 0,
        "on_failure": "return",
        turn: 1,
        **words,
    }


def show(client: Client, site: Site4, **words: object) -> str:
    page: bytes = post_and_wait(client, reverse(ADD), said(site, _plan="1", **words)).content
    return page.decode()


def hidden(page: str) -> dict[str, str]:
    """What the page sends back with the confirmation."""
    found = dict(re.findall(r'<input type="hidden" name="(shown|asked)" value="(\w+)"', page))
    assert len(found) == 2
    return found


def confirm(client: Client, site: Site4) -> Upgrade:
    answer = client.post(reverse(ADD), said(site, _confirm="1", **hidden(show(client, site))))
    assert answer.status_code == 302, answer.content.decode()
    return Upgrade.objects.get()


def test_an_address_fills_the_form_in(shop: Site4) -> None:
    address = f"{reverse(ADD)}?package=shopkit&version=1.1&environment={shop.environment.pk}"
    page = visitor("deployer").get(address).content.decode()
    assert 'value="shopkit==1.1"' in page
    assert re.search(r'name="turn-\d+" value="1"', page)


def test_what_would_move_is_shown_before_anything_is_asked_for(shop: Site4) -> None:
    page = show(visitor("deployer"), shop)
    assert "shopkit" in page
    assert '<code class="dm-changed">1.1</code>' in page
    assert "asked for" in page
    assert not Upgrade.objects.exists()


def test_confirmed_it_is_requested_and_its_page_shows_how_it_goes(shop: Site4) -> None:
    client = visitor("deployer")
    upgrade = shop.see_through(confirm(client, shop))
    page = client.get(reverse("admin:deploy_manager_upgrade_change", args=[upgrade.pk]))
    text = page.content.decode()
    assert 'data-state="succeeded"' in text
    assert "Deployment #" in text
    for run in shop.stage(upgrade).deployment.host_runs.all():  # type: ignore[union-attr]
        assert f'<li>{run.server_name} <span class="dm-state" data-state="succeeded">' in text
    assert upgrade.requested_by_name == "deployer"
    assert (
        "shopkit" in client.get(reverse("admin:deploy_manager_upgrade_changelist")).content.decode()
    )


def test_what_was_shown_is_what_runs_though_the_index_has_more_by_now(shop: Site4) -> None:
    client = visitor("deployer")
    shown = hidden(show(client, shop))
    shop.index.add("shopkit", "1.2", requires=("helper",))
    client.post(reverse(ADD), said(shop, _confirm="1", **shown))
    moves = shop.stage(Upgrade.objects.get()).moves
    assert [move["after"] for move in moves if move["name"] == "shopkit"] == ["1.1"]


@pytest.mark.parametrize(
    "what", few("the form", "the release", "the pins", "the key", "the answer", first=2)
)
def test_what_changed_since_it_was_shown_is_shown_again(shop: Site4, what: str) -> None:
    client = visitor("deployer")
    sent = said(shop, _confirm="1", **hidden(show(client, shop)))
    match what:
        case "the form":
            sent["packages"] = "helper shopkit"
        case "the release":
            shop.serve("shopkit==1.0\nhelper==1.0\n# again\n")
        case "the pins":
            Environment.objects.update(pins_from=Environment.PinsFrom.ROWS)
            replace_pins(shop.environment, [Pin("shopkit", "1.0")])
        case "the key":
            sent["shown"] = "0" * 64
        case "the answer":
            Resolution.objects.update(created_at=timezone.now() - KEPT_FOR)
    page = post_and_wait(client, reverse(ADD), sent).content.decode()
    assert "changed since it was shown" in page
    assert 'name="shown"' in page
    assert not Upgrade.objects.exists()


@pytest.mark.parametrize(
    ("words", "why"),
    [
        ({"packages": "shop kit>=1"}, "is not a package"),
        ({"packages": "nowhere"}, "is not among the pins"),
        ({"packages": "<b>x</b>"}, "&lt;b&gt;x&lt;/b&gt;"),
        ({"soak": "soon"}, "Enter a whole number"),
        ({"reach": "far"}, "Select a valid choice"),
    ],
)
def test_what_cannot_be_is_reported_and_nothing_is_lost(
    shop: Site4, words: dict[str, object], why: str
) -> None:
    page = show(visitor("deployer"), shop, reason="Because of that", **words)
    assert why in page
    assert 'value="Because of that"' in page
    assert "<b>x</b>" not in page


def test_an_environment_without_a_turn_is_left_out(shop: Site4) -> None:
    page = show(visitor("deployer"), shop, **{f"turn-{shop.environment.pk}": ""})
    assert "Give at least one environment a turn." in page


def test_a_viewer_sees_upgrades_and_begins_none(shop: Site4) -> None:
    upgrade = confirm(visitor("deployer"), shop)
    viewer = visitor("viewer")
    address = reverse("admin:deploy_manager_upgrade_change", args=[upgrade.pk])
    assert viewer.get(address).status_code == 200
    assert viewer.get(reverse(ADD)).status_code == 403
    assert (
        viewer.post(reverse("admin:deploy_manager_upgrade_cancel", args=[upgrade.pk])).status_code
        == 403
    )
    assert visitor("stranger").get(address).status_code in (302, 403, 404)


def test_rights_on_one_environment_show_that_one_only(shop: Site4, settings: Settings) -> None:
    settings.AUTHENTICATION_BACKENDS = [
        "django.contrib.auth.backends.ModelBackend",
        "tests.parts.admin.ObjectRights",
    ]
    other = Environment.objects.create(
        project=shop.environment.project, name="staging", deploy_path="/srv/staging"
    )
    user = make_user("half")
    ObjectRights.grant(user, "upgrade_environment", other)
    client = Client()
    client.force_login(user, "django.contrib.auth.backends.ModelBackend")
    page = client.get(reverse(ADD)).content.decode()
    assert "shop/staging" in page
    assert "shop/production" not in page
    upgrade = confirm(visitor("deployer"), shop)
    address = reverse("admin:deploy_manager_upgrade_change", args=[upgrade.pk])
    assert client.get(address).status_code in (302, 404)


def test_cancelled_it_ends(shop: Site4) -> None:
    client = visitor("deployer")
    shop.environment.freeze("Exams", "me")
    upgrade = confirm(client, shop)
    client.post(reverse("admin:deploy_manager_upgrade_cancel", args=[upgrade.pk]))
    assert shop.see_through(upgrade).state == UpgradeState.CANCELLED
    assert upgrade.cancel_requested_by_name == "deployer"


def test_what_it_waits_for_is_on_every_page(shop: Site4) -> None:
    client = visitor("deployer")
    shop.environment.freeze("Exams", "boss")
    why = "shop/production is frozen by boss until it is thawed: Exams"
    assert why in show(client, shop)
    upgrade = confirm(client, shop)
    shop.see_through(upgrade)
    page = client.get(reverse("admin:deploy_manager_upgrade_change", args=[upgrade.pk]))
    listed = client.get(reverse("admin:deploy_manager_upgrade_changelist"))
    for shown in (page, listed):
        assert why in shown.content.decode()
        assert 'data-state="waiting"' in shown.content.decode()
        assert 'data-state="running"' not in shown.content.decode()


def test_pins_that_failed_before_and_lower_versions_are_marked(shop: Site4) -> None:
    client = visitor("deployer")
    before = show(client, shop)
    assert "Marked as bad" not in before
    assert "downgraded" not in before
    (stage,) = plan_upgrade([shop.environment], shop.options("shopkit")).stages
    failed = Release.objects.make(
        shop.environment, stage.release_before.commit, "", stage.lock_after()
    )
    failed.mark_bad("It fell over.")
    assert "It fell over." in show(client, shop)
    shop.index.add("shopkit", "0.9")
    assert "downgraded" in show(client, shop, packages="shopkit==0.9")


def test_a_mark_since_it_was_shown_has_it_shown_again(shop: Site4) -> None:
    client = visitor("deployer")
    sent = said(shop, _confirm="1", **hidden(show(client, shop)))
    (stage,) = plan_upgrade([shop.environment], shop.options("shopkit")).stages
    Release.objects.make(
        shop.environment, stage.release_before.commit, "", stage.lock_after()
    ).mark_bad("It fell over.")
    page = post_and_wait(client, reverse(ADD), sent).content.decode()
    assert "It fell over." in page
    assert not Upgrade.objects.exists()


def test_actions_lead_to_the_page(shop: Site4) -> None:
    client = visitor("deployer")
    data = {"action": "upgrade_packages", "_selected_action": [shop.environment.pk]}
    answer = client.post(reverse("admin:deploy_manager_environment_changelist"), data)
    assert answer.headers["Location"] == f"{reverse(ADD)}?environment={shop.environment.pk}"
    row = shop.environment.requirements.get(name="shopkit")
    data = {"action": "upgrade_packages", "_selected_action": [row.pk]}
    answer = client.post(reverse("admin:deploy_manager_requirement_changelist"), data)
    assert "package=shopkit" in answer.headers["Location"]
