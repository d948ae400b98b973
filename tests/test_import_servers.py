"""Servers of other tools' inventories: previewed, written as previewed, and the same once more."""

import json
from pathlib import Path

import pytest
from django.utils import translation

from deploy_manager.deployments.confirming import changed_since
from deploy_manager.inventories.formats import read_inventory
from deploy_manager.inventory.changes import NEW, REFUSED, UNCHANGED, Wanted
from deploy_manager.inventory.comparing import plan_import
from deploy_manager.inventory.exporting import export, servers_to_export
from deploy_manager.inventory.writing import ImportChanged, write_import
from deploy_manager.models import Environment, Placement, Project, Schedule, Server
from tests.commands import call, call_and_be_refused, call_and_fail, events
from tests.inventory_files import MAKERS, machines
from tests.owners import owned

pytestmark = pytest.mark.django_db

KEY = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIHHJ3h6GkBaKjDTm0TsYeOaIhTHkRd2qPZzmYFIjpQVe"


@pytest.fixture
def shop() -> Environment:
    project = Project.objects.create(name="shop", repository="/srv/shop.git")
    return Environment.objects.create(project=project, name="production", deploy_path="/srv/shop")


def write(folder: Path, text: str) -> str:
    path = folder / "servers"
    path.write_text(text)
    return str(path)


def bring(text: str, wanted: Wanted = Wanted(user="deploy"), form: str = "") -> None:  # noqa: B008
    inventory = read_inventory(text.encode(), form)
    write_import(inventory, wanted, plan_import(inventory, wanted).digest)


@pytest.mark.parametrize("name", MAKERS)
def test_two_hundred_servers_come_are_moved_and_then_stay(
    name: str, tmp_path: Path, shop: Environment
) -> None:
    words = ("--user=deploy", "--environment=shop/production", "--roles=dbservers=database")
    has_groups = name != "ssh_config"
    file = write(tmp_path, MAKERS[name](machines(200)))
    told = events(call("import_servers", file, *words, "--dry-run", "--json"))
    assert (told[-1]["format"], told[-1]["new"], told[-1]["state"]) == (name, 200, "previewed")
    assert not Server.objects.exists()

    call("import_servers", file, *words, "--yes")
    assert Server.objects.count() == 200
    web = Server.objects.get(name="web0151")
    has_port = name in ("ansible-ini", "ansible-yaml", "ssh_config", "csv")
    assert (web.address, web.user) == ("10.0.0.152", "deploy")
    assert web.port == (2222 if has_port else 22)
    assert Placement.objects.filter(environment=shop).count() == (200 if has_groups else 0)
    if has_groups:
        assert Placement.objects.get(server=web).roles == ["web"]
        assert Placement.objects.get(server__name="db0200").roles == ["database"]
        orders = set(Placement.objects.values_list("order", flat=True))
        assert orders == set(range(1, 201))

    file = write(tmp_path, MAKERS[name](machines(200, network=7)))
    told = events(call("import_servers", file, *words, "--yes", "--json"))
    assert (told[-1]["changed"], told[-1]["placed"]) == (200, 0)
    assert Server.objects.get(name="web0151").address == "10.7.0.152"

    told = events(call("import_servers", file, *words, "--yes", "--json"))
    assert (told[-1]["unchanged"], told[-1]["state"]) == (200, "previewed")


@pytest.mark.parametrize("form", ["ansible", "csv", "ssh_config"])
def test_what_is_exported_comes_back_unchanged(form: str, shop: Environment) -> None:
    bring(MAKERS["csv"](machines(200)), Wanted(shop, (("dbservers", "database"),)))
    gate = Server.objects.create(name="gate", address="2001:db8::1", user="ann", port=2200)
    inner = Server.objects.create(name="inner", address="gate2.x", user="ann", gateway=gate)
    Server.objects.filter(name__startswith="db").update(gateway=inner)
    Server.objects.create(name="here", connection="local")
    text = export(servers_to_export(), form)
    inventory = read_inventory(text.encode())
    plan = plan_import(inventory, Wanted(shop, change_roles=True))
    assert not inventory.left_out
    assert {each.state for each in plan.planned} == {UNCHANGED}
    assert not plan.placed
    assert plan.gone == (("here",) if form == "ssh_config" else ())

    before = {
        each.name: (each.account.partition(" by ")[0], each.is_local)
        for each in Server.objects.all()
    }
    Placement.objects.all().delete()
    Server.objects.filter(gateway=inner).delete()
    Server.objects.filter(name="inner").delete()
    Server.objects.exclude(name="here" if form == "ssh_config" else "").delete()
    bring(text, Wanted(shop))
    after = {
        each.name: (each.account.partition(" by ")[0], each.is_local)
        for each in Server.objects.all()
    }
    assert after == before
    assert Server.objects.get(name="db0100").gateway == Server.objects.get(name="inner")
    if form != "ssh_config":
        assert Placement.objects.get(server__name="db0100").roles == ["database"]
        assert Placement.objects.count() == 200


def test_a_gateway_may_come_after_those_that_it_leads_to() -> None:
    bring("name,address,user,gateway\nweb,10.0.0.1,ann,gate\ngate,192.0.2.1,ann,\n")
    assert Server.objects.get(name="web").gateway == Server.objects.get(name="gate")


def test_servers_without_a_way_are_refused_and_the_others_come(tmp_path: Path) -> None:
    lines = [
        "name,address,user,gateway",
        "a,10.0.0.1,ann,b",
        "b,10.0.0.2,ann,a",
        "c,10.0.0.3,ann,x",
    ]
    lines += ["d,10.0.0.4,ann,c", "e,10.0.0.5,ann,", "e,10.0.0.6,ann,", "f,10.0.0.7;id,ann,"]
    lines += ["__proto__,10.0.0.8,ann,", "g,10.0.0.9,,", "h,10.0.0.9,ann,,", "\x1b[2J,1.2.3.4,ann,"]
    code, told = call_and_fail("import_servers", write(tmp_path, "\n".join(lines)), "--yes")
    assert code == 1
    assert set(Server.objects.values_list("name", flat=True)) == {"e", "h"}
    assert Server.objects.get(name="e").address == "10.0.0.5"
    assert "\x1b" not in told
    for reason in (
        "lead back",
        "gateway x is neither",
        "gateway c is neither",
        "before, in line 6",
        "names no user",
        "Enter a host name",
    ):
        assert reason in told


def test_a_server_keeps_its_pinned_key_wherever_it_moves(tmp_path: Path) -> None:
    Server.objects.create(name="web", address="10.0.0.1", user="ann", host_key=KEY)
    file = write(tmp_path, "name,address\nweb,10.0.0.2\n")
    assert "pinned host key stays" in call("import_servers", file, "--yes")
    assert Server.objects.get().host_key == KEY
    assert Server.objects.get().user == "ann"


def test_what_a_file_does_not_say_stays(tmp_path: Path) -> None:
    gate = Server.objects.create(name="gate", address="192.0.2.1", user="ann")
    Server.objects.create(name="web", address="10.0.0.1", port=2222, user="ann", gateway=gate)
    Server.objects.create(name="here", connection="local")
    told = call("import_servers", write(tmp_path, "name,ip\nweb,10.0.0.1\nhere,10.0.0.9\n"))
    assert "0 new, 0 changed, 0 refused, 2 unchanged" in told
    assert "Not in the file, and left as they are: gate" in told


def test_a_place_that_exists_keeps_its_roles_unless_told(shop: Environment) -> None:
    text = "name,address,user,roles\nweb,10.0.0.1,ann,static app\n"
    bring("name,address,user,roles\nweb,10.0.0.1,ann,app\n", Wanted(shop))
    bring(text, Wanted(shop))
    assert Placement.objects.get().roles == ["app"]
    bring(text, Wanted(shop, change_roles=True))
    assert Placement.objects.get().roles == ["static", "app"]


def test_no_server_gets_a_role_that_nobody_named(shop: Environment) -> None:
    bring("name,address,user,groups\nmail,10.0.0.1,ann,monitoring\n", Wanted(shop))
    assert not Placement.objects.exists()
    bring("name,address,user\nmail,10.0.0.1,ann\n", Wanted(shop, (("all", "app"),)))
    assert Placement.objects.get().roles == ["app"]


def test_a_place_that_another_site_has_is_not_taken(shop: Environment) -> None:
    bring("name,address,user,roles\nweb,10.0.0.1,ann,app\n", Wanted(shop))
    other = Environment.objects.create(project=shop.project, name="demo", deploy_path="/srv/shop")
    inventory = read_inventory(b"name,address,user,roles\nweb,10.0.0.1,ann,app\n")
    (planned,) = plan_import(inventory, Wanted(other)).planned
    assert planned.place is not None
    assert (planned.state, planned.place.state) == (UNCHANGED, REFUSED)
    assert "shop/production" in str(planned.place.why)


def test_what_changed_since_the_preview_is_shown_again() -> None:
    inventory = read_inventory(b"name,address,user\nweb,10.0.0.1,ann\nnew,10.0.0.2,ann\n")
    Server.objects.create(name="web", address="10.0.0.9", user="ann")
    seen = plan_import(inventory, Wanted())
    Server.objects.update(address="10.0.0.8")
    with pytest.raises(ImportChanged):
        write_import(inventory, Wanted(), seen.digest)
    assert Server.objects.get().address == "10.0.0.8"


@pytest.mark.database
def test_a_server_that_came_at_the_same_moment_undoes_nothing(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    inventory = read_inventory(b"name,address,user\na,10.0.0.1,ann\nb,10.0.0.2,ann\n")
    seen = plan_import(inventory, Wanted())
    bulk_create = Server.objects.bulk_create

    def too_late(rows: list[Server], batch_size: int) -> list[Server]:
        Server.objects.create(name="b", address="10.0.0.9", user="ann")
        return bulk_create(rows, batch_size)

    monkeypatch.setattr(Server.objects, "bulk_create", too_late)
    with pytest.raises(ImportChanged):
        write_import(inventory, Wanted(), seen.digest)
    assert not Server.objects.filter(name="a").exists()


def test_a_group_can_have_several_roles(tmp_path: Path, shop: Environment) -> None:
    file = write(tmp_path, "name,address,user,groups\ndb1,10.0.0.1,ann,dbservers\n")
    words = ("--environment=shop/production", "--roles=dbservers=database,cache")
    call("import_servers", file, *words, "--yes")
    assert Placement.objects.get(environment=shop).roles == ["database", "cache"]


def test_servers_that_are_imported_pause_no_schedule(tmp_path: Path, shop: Environment) -> None:
    nightly = owned(Schedule.objects.create(environment=shop, recipe="ping", cron="0 3 * * *"))
    file = write(tmp_path, "name,address,user,groups\nnew,10.0.0.9,shop,dbservers\n")
    call("import_servers", file, "--environment=shop/production", "--roles=dbservers=app", "--yes")
    assert shop.placements.filter(server__name="new").exists()
    nightly.refresh_from_db()
    assert changed_since(nightly) == []
    Server.objects.filter(name="new").update(user="eve")
    assert changed_since(nightly) != []


def test_nothing_is_written_where_nobody_can_agree(tmp_path: Path) -> None:
    file = write(tmp_path, "name,address,user\nweb,10.0.0.1,ann\n")
    assert "Add --yes" in call_and_be_refused("import_servers", file)
    assert not Server.objects.exists()


@pytest.mark.parametrize(
    ("words", "reason"),
    [
        (("--roles=web=app",), "add --environment"),
        (("--environment=shop/production", "--roles=web"), "a group, =, and a role"),
        (("--environment=shop/production", "--roles=web=app,"), "a group, =, and a role"),
        (("--environment=shop/nowhere",), "no environment"),
        (("--format=chef",), "not JSON"),
    ],
)
def test_wrong_words_are_refused(
    words: tuple[str, ...], reason: str, tmp_path: Path, shop: Environment
) -> None:
    file = write(tmp_path, "name,address,user\nweb,10.0.0.1,ann\n")
    assert reason in call_and_be_refused("import_servers", file, *words)


def test_a_file_that_is_not_there_is_refused(tmp_path: Path) -> None:
    assert "can't be read" in call_and_be_refused("import_servers", str(tmp_path / "none"))


def test_a_change_in_the_language_of_the_reader_is_none() -> None:
    """The digest is of what is written, not of words about it."""
    inventory = read_inventory(b"name,address,user\nweb,10.0.0.1,ann\nbad,-,ann\n")
    seen = plan_import(inventory, Wanted())
    with translation.override("fr"):
        assert plan_import(inventory, Wanted()).digest == seen.digest
    assert [each.state for each in seen.planned] == [NEW, REFUSED]


def test_an_export_has_no_secret(shop: Environment) -> None:
    bring("name,address,user,roles\nweb,10.0.0.1,ann,app\n", Wanted(shop))
    Server.objects.update(host_key=KEY)
    Environment.objects.update(variables={"TOKEN": "secret-word"})
    for form in ("json", "ansible", "csv", "ssh_config"):
        told = call("export_servers", f"--format={form}", "--environment=shop/production")
        assert "secret-word" not in told
        assert "AAAA" not in told
        assert "10.0.0.1" in told


def test_a_dynamic_inventory_answers_ansible(shop: Environment) -> None:
    bring("name,address,user,roles\nweb,10.0.0.1,ann,app\n", Wanted(shop))
    listed = json.loads(call("ansible_inventory", "--list"))
    assert listed["shop_production"] == listed["app_in_shop_production"] == {"hosts": ["web"]}
    host = json.loads(call("ansible_inventory", "--host", "web"))
    assert host == listed["_meta"]["hostvars"]["web"]
    assert (host["deploy_path"], host["deploy_roles"]) == ("/srv/shop", ["app"])
    assert json.loads(call("ansible_inventory", "--host", "nobody")) == {}
