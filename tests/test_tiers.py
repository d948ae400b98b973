"""Tiers as rows: which server has what, what it passes requests on to, what the site is told."""

from typing import Any

import pytest
from django.core.exceptions import ValidationError

from deploy_manager.deployments.choices import releases_to_return_to
from deploy_manager.deployments.machine_needs import machine_of
from deploy_manager.deployments.orders import site_of
from deploy_manager.deployments.site_tiers import tiers_on
from deploy_manager.deployments.waves import plan_steps
from deploy_manager.exceptions import ConfigurationError, InvalidRow
from deploy_manager.models import Environment, LockFile, Server, Tier
from deploy_manager.recipes import get_pipeline
from deploy_manager.tiers.kinds import Facts, kinds
from tests.inventory import Inventory

pytestmark = pytest.mark.django_db
SERVERS = {
    "web1": ("app", "192.0.2.1"),
    "web2": ("app", "192.0.2.2"),
    "static1": ("static", "192.0.2.3"),
    "db1": ("database", "192.0.2.4"),
}


@pytest.fixture
def shop(inventory: Inventory) -> Environment:
    environment = inventory.environment
    environment.placements.all().delete()
    environment.reload_method = Environment.ReloadMethod.GUNICORN
    environment.bind = "{address}:8000"
    environment.save()
    for order, (name, (role, address)) in enumerate(SERVERS.items(), 1):
        server = Server.objects.create(name=name, address=address, user="deploy")
        environment.placements.create(server=server, roles=[role], order=order)
    return environment


def add(shop: Environment, kind: str, **values: Any) -> Tier:
    usual: dict[str, Any] = {"listen": ["http://{address}:80"], "names": ["shop.example.org"]}
    is_web = kind not in kinds() or kinds()[kind].is_web
    tier = Tier(environment=shop, kind=kind, **(usual if is_web else {}) | values)
    tier.full_clean()
    tier.save()
    return tier


def found_on(shop: Environment, server: str) -> dict[str, Facts]:
    environment = Environment.objects.get(pk=shop.pk)
    placement = environment.placements.get(server__name=server)
    return {tier.name: tier for tier in tiers_on(placement)}


def test_a_web_server_passes_requests_on_to_all_that_serve(shop: Environment) -> None:
    add(shop, "nginx")
    (nginx,) = found_on(shop, "static1").values()
    assert nginx.backends == ("192.0.2.1:8000", "192.0.2.2:8000")
    assert [str(each) for each in nginx.listen] == ["http://192.0.2.3:80"]
    assert found_on(shop, "web1") == {}


def test_a_web_server_beside_the_site_passes_requests_on_to_that_alone(shop: Environment) -> None:
    add(shop, "nginx", roles=["app"])
    assert found_on(shop, "web2")["nginx"].backends == ("192.0.2.2:8000",)
    Tier.objects.update(options={"balance": "yes"})
    both = ("192.0.2.1:8000", "192.0.2.2:8000")
    assert found_on(shop, "web2")["nginx"].backends == both


def test_an_address_that_others_cannot_reach_is_refused(shop: Environment) -> None:
    add(shop, "nginx")
    for bind in ("127.0.0.1:8000", "unix:/run/shop.sock"):
        Environment.objects.update(bind=bind)
        with pytest.raises(ConfigurationError, match="static1 can't reach the site on web1"):
            found_on(shop, "static1")


def test_the_private_address_is_for_traffic_between_servers(shop: Environment) -> None:
    add(shop, "nginx")
    Server.objects.filter(name="web2").update(private_address="10.0.0.2")
    assert found_on(shop, "static1")["nginx"].backends == ("192.0.2.1:8000", "10.0.0.2:8000")


def test_a_server_with_other_roles_only_gets_no_release(shop: Environment) -> None:
    for name in ("deploy", "converge", "tiers", "ping", "rollback"):
        planned = plan_steps(get_pipeline(name), shop, list(shop.placements.all()))
        servers = {each.server.name for each in planned.steps}
        assert ("db1" in servers) == (name in ("tiers", "ping")), name


def test_a_server_without_releases_stops_no_rollback(shop: Environment) -> None:
    lock = LockFile.objects.create(text="", digest="0" * 64)
    release = shop.releases.create(name="r1", commit="a" * 40, lock=lock)
    shop.placements.exclude(server__name="db1").update(complete_releases=["r1"])
    assert releases_to_return_to(shop) == [release]


def test_the_site_waits_for_no_tier_that_cannot_be(shop: Environment) -> None:
    """A mistake in a web server's row is found by whoever applies the tiers."""
    add(shop, "nginx")
    Tier.objects.update(names=["; include /etc/shadow"])
    placement = shop.placements.get(server__name="web1")
    with pytest.raises(InvalidRow, match="host names"):
        tiers_on(placement)
    assert site_of(placement).tiers == ()


@pytest.mark.parametrize(
    ("values", "field"),
    [
        ({"kind": "nonsense"}, "kind"),
        ({"listen": []}, "listen"),
        ({"listen": ["shop.example.org"]}, "listen"),
        ({"listen": ["http://*:99999"]}, "listen"),
        ({"listen": ["http://1.2.3.4; include /etc/shadow"]}, "listen"),
        ({"listen": ["https://*"]}, "certificate"),
        ({"names": []}, "names"),
        ({"names": ["shop.example.org; return 200"]}, "names"),
        ({"names": ["a\nb"]}, "names"),
        ({"options": {"max_body": "10m; include /etc/shadow"}}, "options"),
        ({"options": {"max_bodies": "10m"}}, "options"),
        ({"options": ["max_body"]}, "options"),
        ({"certificate": "/etc/cert;", "certificate_key": "/etc/key"}, "certificate"),
        ({"lines": "listen 80\u202e;"}, "lines"),
        ({"name": "Ngi nx"}, "name"),
        ({"variable": "A=B"}, "variable"),
    ],
)
def test_what_would_not_be_a_word_in_its_configuration_is_refused(
    shop: Environment, values: dict[str, Any], field: str
) -> None:
    with pytest.raises(ValidationError) as raised:
        add(shop, **{"kind": "nginx"} | values)
    assert field in raised.value.error_dict


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("names", ["a; return 200"]),
        ("listen", "http://*:80"),
        ("options", {"static_url": "/static/;"}),
        ("lines", "\x1b[31m"),
        ("names", []),
    ],
)
def test_what_was_written_around_the_form_is_refused_as_well(
    shop: Environment, field: str, value: object
) -> None:
    add(shop, "nginx")
    Tier.objects.update(**{field: value})
    with pytest.raises((InvalidRow, ConfigurationError, ValueError)):
        found_on(shop, "static1")


def test_who_applies_a_web_server_is_said_to_be_as_powerful_as_root(shop: Environment) -> None:
    add(shop, "nginx")
    static = shop.placements.get(server__name="static1")
    machine = machine_of(static, site_of(static), "")
    assert "deploy as powerful as root: it sends the configuration of nginx" in machine.makes_root
    web = shop.placements.get(server__name="web1")
    assert machine_of(web, site_of(web), "").makes_root == ""
