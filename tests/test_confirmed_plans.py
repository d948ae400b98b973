"""What was confirmed is what runs: an edit between the two stops it, and is named."""

from collections.abc import Callable
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from django.contrib.auth.models import User
from django.db import models
from django.utils import timezone
from pytest_django import Settings

from deploy_manager.auditing import Actor, acting
from deploy_manager.deployments import contents as contents_module
from deploy_manager.deployments import prepare as prepare_module
from deploy_manager.deployments import run as run_module
from deploy_manager.deployments.choices import retry
from deploy_manager.deployments.confirming import (
    changed_since,
    changes_of,
    confirming_own_edits,
    refuse_what_changed,
)
from deploy_manager.deployments.decided import (
    DECIDES_NOTHING,
    DESCRIBED,
    describe,
)
from deploy_manager.deployments.deploy_file import read_build_commands
from deploy_manager.deployments.prepare import prepare
from deploy_manager.deployments.request import DeploymentOptions, request
from deploy_manager.deployments.run import run, run_shard
from deploy_manager.exceptions import PlanChanged
from deploy_manager.git.mirror import Mirror
from deploy_manager.models import (
    ConfirmedPlan,
    Deployment,
    Environment,
    Override,
    Placement,
    Process,
    Project,
    Requirement,
    Schedule,
    SecretVariable,
    Server,
    State,
    Tier,
    UpgradePolicy,
    UpgradeState,
)
from deploy_manager.models.secret_field import SecretField
from deploy_manager.sealing import Secret, seal
from deploy_manager.site_secrets import SiteSecrets, open_secrets
from tests.inventory import Inventory, claim, make_inventory
from tests.loop import Pair
from tests.owners import owned, owner
from tests.parts.repository import Repository
from tests.releases import Switching

pytestmark = pytest.mark.django_db(transaction=True)


@pytest.fixture
def site(inventory: Inventory) -> Environment:
    """`shop/production` with a row of each table that decides what runs."""
    environment = inventory.environment
    gateway = Server.objects.create(name="hop", address="198.51.100.1", user="hop")
    one = {"gateway": gateway, "address": "198.51.100.2", "user": "deploy"}
    Server.objects.filter(name="one").update(**one)
    builder = Server.objects.create(name="builder", connection="local")
    Environment.objects.filter(pk=environment.pk).update(
        builder=builder, pins_from="rows", variables={"TOKEN": "s3cret", "DEBUG": "0"}
    )
    environment.processes.create(name="worker")
    Placement.objects.update(roles=["app", "cache"])
    environment.tiers.create(kind="redis", name="redis", roles=["cache"])
    SecretVariable.objects.put(environment, "API_KEY", Secret("of the shop"), "somebody")
    environment.requirements.create(name="django", version="5.2.7")
    environment.overrides.create(name="celery", version="5.5")
    environment.schedules.create(cron="1 2 * * *", recipe="ping")
    policy = UpgradePolicy.objects.create(name="nightly", cron="1 2 * * *")
    policy.turns.create(environment=environment)
    policy.ignored.create(package="django", reason="later")
    environment.refresh_from_db()
    return environment


def digest(site: Environment) -> str:
    """Of all that decides anything there."""
    found = Environment.objects.get(pk=site.pk)
    schedule, policy = found.schedules.get(), UpgradePolicy.objects.get()
    return describe(found, actor=schedule).digest + describe(found, actor=policy).digest


OTHERS: dict[type[Any], Callable[[Any], Any]] = {
    models.JSONField: lambda value: (
        {**value, "more": "1"} if isinstance(value, dict) else [*(value or []), "more"]
    ),
    models.BooleanField: lambda value: not value,
    models.DateTimeField: lambda value: (value or timezone.now()) + timedelta(hours=1),
    models.DateField: lambda value: timezone.now().date(),
    SecretField: lambda value: seal(Secret("another one")).text,
    models.UUIDField: lambda value: "0" * 32,
    models.IntegerField: lambda value: (value or 0) + 1,
}


def other(field: "models.Field[Any, Any]", value: Any) -> Any:
    """Another value for a column, as an UPDATE writes it."""
    if field.related_model is User:
        return owner().pk
    if isinstance(field, models.ForeignKey):
        rows = field.related_model._default_manager.exclude(pk=value)
        found = rows.values_list("pk", flat=True).first()
        return found if found is not None else pytest.skip("there is no other row")
    if field.choices:
        return next(each for each, _label in field.choices if each != value)
    for kind, make in OTHERS.items():
        if isinstance(field, kind):
            return make(value)
    return f"{value}x"


COLUMNS = [
    pytest.param(model, field.name, id=f"{model.__name__}.{field.name}")
    for model in DESCRIBED
    for field in model._meta.concrete_fields
    if not field.primary_key
]


@pytest.mark.parametrize(("model", "name"), COLUMNS)
def test_every_column_decides_or_is_listed_with_the_reason_why_it_does_not(
    site: Environment, model: type[models.Model], name: str
) -> None:
    field = model._meta.get_field(name)
    assert isinstance(field, models.Field)
    row = model._default_manager.latest("pk")
    if model is Server:
        row = Server.objects.get(name="one")
    if model is Environment:
        row = Environment.objects.get()
    if name in ("environment", "project", "policy") and name in DECIDES_NOTHING[model]:
        return  # the row would leave what is looked at
    if name.startswith("ended_"):
        return  # see the next test: an end is written at once
    before, value = digest(site), other(field, getattr(row, field.attname))
    models.QuerySet.update(model._default_manager.filter(pk=row.pk), **{field.attname: value})
    assert (digest(site) == before) is (name in DECIDES_NOTHING[model])


def test_an_override_counts_as_long_as_it_holds(site: Environment) -> None:
    before = digest(site)
    assert site.overrides.live().end(Override.End.LET_GO, "It breaks the till.", by="ana") == 1
    assert digest(site) != before


def test_the_list_names_columns_that_there_are_each_with_a_reason() -> None:
    for model, names in DECIDES_NOTHING.items():
        assert names.keys() <= {field.name for field in model._meta.concrete_fields}
        assert all(names.values())


def test_no_secret_value_is_kept_and_web_server_and_worker_make_the_same(
    site: Environment, settings: Settings
) -> None:
    SecretVariable.objects.put(site, "PASSWORD", Secret("correct horse"), "somebody")
    text = str(describe(site).save().parts)
    tier = Tier.objects.get()
    assert tier.secret is not None
    assert not [each for each in ("s3cret", "correct horse", tier.secret.box) if each in text]
    assert tier.secret.fingerprint in text
    assert SecretVariable.objects.get(name="PASSWORD").fingerprint in text
    assert "TOKEN" in text
    settings.SECRET_KEY = "of the worker"
    assert str(describe(site).save().parts) == text


EDITS: dict[str, tuple[Callable[[], object], str]] = {
    "environment": (
        lambda: Environment.objects.update(reload_method="command", reload_target="touch /tmp/x"),
        "reload of shop/production (environment): none → command",
    ),
    "variable": (
        lambda: Environment.objects.update(variables={"TOKEN": "0ther"}),
        "environment variables TOKEN of shop/production (environment)",
    ),
    "project": (
        lambda: Project.objects.update(repository="/elsewhere/shop.git"),
        "repository of shop (project): /nowhere/shop.git → /elsewhere/shop.git",
    ),
    "placement": (
        lambda: Placement.objects.update(own_bind="127.0.0.1:9"),
        "address of shop/production on one (placement): — → 127.0.0.1:9",
    ),
    "server": (
        lambda: Server.objects.update(host_key="ssh-ed25519 AAAA"),
        "host key of one (server): — → ssh-ed25519 AAAA",
    ),
    "process": (
        lambda: Process.objects.create(
            environment=Environment.objects.get(), name="beat", command="evil"
        ),
        "process beat of shop/production was added",
    ),
    "tier": (
        lambda: Tier.objects.create(environment=Environment.objects.get(), kind="redis"),
        "tier redis of shop/production was added",
    ),
}
edited = pytest.mark.parametrize(("edit", "words"), EDITS.values(), ids=EDITS)


@edited
def test_an_edit_before_it_begins_stops_it_before_any_server_is_touched(
    switching: Switching, edit: Callable[[], object], words: str
) -> None:
    deployment = switching.request("new")
    edit()
    run(deployment.pk)
    deployment.refresh_from_db()
    assert (deployment.state, deployment.message.code) == (State.FAILED, "plan_changed")
    assert words in deployment.message
    assert "No server was touched." in deployment.message
    assert switching.told("one") == []
    assert "0ther" not in deployment.message


@edited
def test_an_edit_between_two_waves_stops_it_and_what_was_switched_is_told(
    switching: Switching, edit: Callable[[], object], words: str
) -> None:
    switching.inventory.add_server("two")
    Environment.objects.update(strategy="waves", canary="1", pause=3600)
    switching.inventory.environment.refresh_from_db()
    deployment = switching.request("new")
    run_shard(deployment.shards.get().pk, lambda pk: None)
    assert switching.current("one") == "new"
    edit()
    Deployment.objects.filter(pk=deployment.pk).update(opens_at=deployment.created_at)
    run(deployment.pk)
    deployment.refresh_from_db()
    assert deployment.state in (State.FAILED, State.PARTLY_FAILED)
    told = {run.server_name: str(run.message) for run in deployment.host_runs.all()}
    assert words in f"{deployment.message}{told}"
    assert switching.told("two") == ["prepare"], "the next wave was not begun"


def test_a_change_of_one_server_stops_that_one_only_once_it_has_begun(
    switching: Switching,
) -> None:
    for name in ("two", "three"):
        switching.inventory.add_server(name)
    Environment.objects.update(strategy="waves", canary="1", pause=3600, max_failures="1")
    switching.inventory.environment.refresh_from_db()
    deployment = switching.request("new")
    run_shard(deployment.shards.get().pk, lambda pk: None)
    Server.objects.filter(name="two").update(private_address="192.0.2.9")
    Deployment.objects.filter(pk=deployment.pk).update(opens_at=deployment.created_at)
    run(deployment.pk)
    deployment.refresh_from_db()
    assert deployment.state == State.PARTLY_FAILED, deployment.message
    told = {run.server_name: run.message for run in deployment.host_runs.all()}
    assert told["two"].code == "plan_changed"
    assert [switching.current(name) for name in ("one", "three")] == ["new", "new"]


HARMLESS: dict[str, Callable[[], object]] = {
    "what serves": lambda: Placement.objects.update(seen_at=timezone.now(), platform="linux"),
    "a freeze that ended": lambda: (
        Environment.objects.get().freeze("Sale", "ana") and Environment.objects.get().thaw("ana")
    ),
    "a server that was renamed": lambda: Server.objects.update(name="renamed"),
    "a server that was added": lambda: Placement.objects.create(
        environment=Environment.objects.get(),
        server=Server.objects.create(name="more", connection="local"),
        own_deploy_path="/nowhere/more",
    ),
    "how it spreads, which the request wrote down": lambda: Environment.objects.update(
        pause=9, max_failures="3", canary="5"
    ),
    "pins, once the release is made": lambda: Requirement.objects.create(
        environment=Environment.objects.get(), name="django", version="9"
    ),
    "an override of the upgrade itself": lambda: Override.objects.create(
        environment=Environment.objects.get(), name="django", version="9"
    ),
    "another schedule": lambda: Schedule.objects.create(
        environment=Environment.objects.get(), cron="1 1 * * *"
    ),
}


@pytest.mark.parametrize("change", HARMLESS.values(), ids=HARMLESS)
def test_what_decides_nothing_stops_nothing(
    switching: Switching, change: Callable[[], object]
) -> None:
    deployment = switching.request("new")
    change()
    run(deployment.pk)
    deployment.refresh_from_db()
    assert deployment.state == State.SUCCEEDED, deployment.message


def test_the_pins_listed_count_until_a_release_is_made(site: Environment) -> None:
    deployment = request(site, "deploy", source="manage.py", requested_by_name="me@here")
    Requirement.objects.update(version="9")
    assert [change.name for change in changes_of(deployment)] == ["django"]
    pair_release = Pair(site, site).release(site)
    Deployment.objects.filter(pk=deployment.pk).update(release=pair_release)
    deployment.refresh_from_db()
    assert not changes_of(deployment)


def test_what_was_only_shown_is_forgotten_after_a_while(pair: Pair) -> None:
    deployment = pair.ask(pair.good)
    shown = describe(pair.bad).save()
    pair.reconcile()
    assert ConfirmedPlan.objects.count() == 2
    ConfirmedPlan.objects.update(created_at=timezone.now() - timedelta(days=31))
    pair.reconcile()
    assert shown.pk != deployment.plan_id
    assert list(ConfirmedPlan.objects.values_list("pk", flat=True)) == [deployment.plan_id]


def test_who_changed_it_is_named_and_nobody_who_changed_something_else(
    inventory: Inventory,
) -> None:
    deployment = inventory.request("ping")
    site = inventory.environment
    for who, column in (("eve", "reload_target"), ("bob", "batch")):
        with acting(Actor(who, "admin")):
            setattr(site, column, "2")
            site.save()
    with pytest.raises(PlanChanged, match=r"Changed by eve\."):
        refuse_what_changed(deployment)


@pytest.mark.parametrize("tail", ["production", "/production", "production-abc12345"])
def test_a_secret_that_has_a_name_of_the_site_in_it_changes_nothing(
    inventory: Inventory, secrets_key: Path, tail: str
) -> None:
    value = Secret(f"postgres://shop:Xk29fqP@db.example.org:5432{tail}" if "/" in tail else tail)
    SecretVariable.objects.put(inventory.environment, "DATABASE_URL", value, "somebody")
    deployment = inventory.request("ping")
    run(deployment.pk)
    deployment.refresh_from_db()
    assert (str(deployment.message), deployment.state) == ("", State.SUCCEEDED)


def test_what_was_shown_is_what_is_requested_or_it_is_refused(inventory: Inventory) -> None:
    site = inventory.environment
    shown = describe(site, pins=False).save().digest
    options = DeploymentOptions(shown=shown)
    who: dict[str, Any] = {"source": "manage.py", "requested_by_name": "me", "options": options}
    assert request(site, "ping", **who).request_cancel("me")
    Environment.objects.update(python="python3.99")
    with pytest.raises(PlanChanged, match=r"python3 → python3\.99"):
        request(site, "ping", **who)
    assert Deployment.objects.count() == 1


def test_a_retry_is_a_request_of_its_own(switching: Switching) -> None:
    deployment = switching.request("new")
    Environment.objects.update(keep_releases=3)
    run(deployment.pk)
    deployment.refresh_from_db()
    recipe, options = retry(deployment)
    again = switching.inventory.environment
    again.refresh_from_db()
    asked = request(again, recipe, source="manage.py", requested_by_name="me@here", options=options)
    run(asked.pk)
    asked.refresh_from_db()
    assert asked.state == State.SUCCEEDED, asked.message


def test_a_stage_of_an_upgrade_that_was_changed_meanwhile_is_not_begun(pair: Pair) -> None:
    upgrade = pair.upgrade(pair.bad, pair.good)
    for stage in upgrade.stages.all():
        stage.plan = describe(stage.environment, pins=False).save()
        stage.save()
    Environment.objects.filter(name="bad").update(smoke_command="evil")
    pair.reconcile()
    first, second = upgrade.stages.order_by("number")
    assert (first.state, first.message.code) == (UpgradeState.FAILED, "plan_changed")
    assert "of shop/bad (environment): — → evil" in first.message
    assert second.state == UpgradeState.SKIPPED


def test_an_upgrade_goes_back_by_what_somebody_with_the_right_has_confirmed_since(
    pair: Pair,
) -> None:
    upgrade = pair.upgrade(pair.bad)
    stage = upgrade.stages.get()
    stage.plan = describe(pair.bad, pins=False).save()
    pair.bring(stage)
    upgrade.stages.update(state=UpgradeState.RETURNING)
    site = Environment.objects.get(name="bad")
    with confirming_own_edits(site, owner()):
        Environment.objects.filter(pk=site.pk).update(health_path="/up")
    pair.reconcile()
    assert upgrade.stages.get().returned_by is not None


def test_an_upgrade_does_not_go_back_by_what_an_editor_wrote_since(pair: Pair) -> None:
    upgrade = pair.upgrade(pair.bad)
    stage = upgrade.stages.get()
    stage.plan = describe(pair.bad, pins=False).save()
    pair.bring(stage)
    upgrade.stages.update(state=UpgradeState.RETURNING)
    Environment.objects.filter(name="bad").update(reload_method="command", reload_target="evil")
    pair.reconcile()
    stage = upgrade.stages.get()
    assert (stage.returned_by, stage.state) == (None, UpgradeState.FAILED)
    assert "plan_changed" in stage.message.codes


def test_descriptions_that_can_t_be_read_say_so_and_stop_it(inventory: Inventory) -> None:
    deployment = inventory.request("ping")
    plan = deployment.plan
    assert plan is not None
    type(plan).objects.filter(pk=plan.pk).update(parts="{")
    held = claim(deployment)
    with pytest.raises(PlanChanged):
        refuse_what_changed(held.deployment)


def test_own_edits_confirm_only_themselves(site: Environment) -> None:
    schedule = owned(site.schedules.get())
    Environment.objects.update(keep_releases=3)
    with confirming_own_edits(site, owner()):
        Environment.objects.update(keep_releases=4)
    schedule.refresh_from_db()
    assert changed_since(schedule), "an earlier edit of somebody else stays unconfirmed"
    owned(schedule)
    with confirming_own_edits(site, owner()):
        Environment.objects.update(keep_releases=5)
    schedule.refresh_from_db()
    assert not changed_since(schedule)
    stranger = User.objects.create_user("stranger")
    with confirming_own_edits(site, stranger):
        Environment.objects.update(keep_releases=6)
    assert [change.name for change in changed_since(schedule)] == ["keep_releases"]


EDITS_BACK: dict[str, tuple[Callable[[], object], Callable[[], object]]] = {
    "environment": (
        lambda: Environment.objects.update(reload_method="command", reload_target="evil"),
        lambda: Environment.objects.update(reload_method="none", reload_target=""),
    ),
    "process": (
        lambda: Environment.objects.get().processes.create(name="evil", command="evil"),
        lambda: Process.objects.all().delete(),
    ),
    "secret": (
        lambda: SecretVariable.objects.update(name="PATH"),
        lambda: SecretVariable.objects.update(name="API_KEY"),
    ),
}


@pytest.mark.parametrize(("edit", "undo"), EDITS_BACK.values(), ids=EDITS_BACK)
def test_an_edit_that_is_undone_once_the_worker_has_read_it_stops_it_too(
    switching: Switching,
    monkeypatch: pytest.MonkeyPatch,
    edit: Callable[[], object],
    undo: Callable[[], object],
) -> None:
    SecretVariable.objects.put(
        switching.inventory.environment, "API_KEY", Secret("of the shop"), "somebody"
    )
    deployment = switching.request("new")
    edit()

    def opened(environment: Environment) -> SiteSecrets:
        found = open_secrets(environment)
        undo()
        return found

    monkeypatch.setattr(run_module, "open_secrets", opened)
    run(deployment.pk)
    deployment.refresh_from_db()
    assert (deployment.state, deployment.message.code) == (State.FAILED, "plan_changed")
    assert switching.told("one") == []


@pytest.mark.parametrize("is_undone", [False, True])
def test_pins_edited_while_the_repository_is_fetched_are_not_installed(
    repository: Repository, monkeypatch: pytest.MonkeyPatch, db: None, is_undone: bool
) -> None:
    repository.commit("Site", {"manage.py": "", "requirements.txt": ""})
    inventory = make_inventory(repository.path.parent, str(repository.path))
    inventory.add_server("one")
    environment = inventory.environment
    Environment.objects.update(pins_from="rows")
    environment.requirements.create(name="django", version="5.2.7")
    environment.refresh_from_db()
    deployment = request(environment, source="manage.py", requested_by_name="me@here")
    fetch = Mirror.update

    def fetch_slowly(mirror: Mirror) -> None:
        Requirement.objects.update(version="6.6.6")
        fetch(mirror)

    def read_the_rest(*args: Any) -> Any:
        if is_undone:
            Requirement.objects.update(version="5.2.7")
        return read_build_commands(*args)

    monkeypatch.setattr(Mirror, "update", fetch_slowly)
    monkeypatch.setattr(contents_module, "read_build_commands", read_the_rest)
    monkeypatch.setattr(prepare_module, "refuse_what_would_fail", lambda *facts: ())
    held = claim(deployment)
    if is_undone:
        release = prepare(held).release
        assert release is not None
        assert "django==5.2.7" in release.lock.text
        return
    with pytest.raises(PlanChanged, match="django"):
        prepare(held)
    assert not environment.releases.exists()
