"""A row that no form would have let through costs its own sense, not the page it stands on."""

from collections.abc import Iterator
from typing import Any

import pytest
from django.apps import apps
from django.contrib import admin
from django.db import IntegrityError, models, transaction
from django.urls import NoReverseMatch, get_resolver, reverse
from django.utils import timezone

from deploy_manager.models import (
    Environment,
    LockFile,
    Override,
    PolicyRun,
    Release,
    Schedule,
    State,
    Step,
    Upgrade,
    UpgradePolicy,
    UpgradeStage,
)
from tests.parts.admin import visitor, write_deployment, write_output
from tests.parts.matrices import few
from tests.parts.packages import advise, audit, index, make_environment, pin, place, see

pytestmark = pytest.mark.django_db

HOSTILE: list[tuple[str, Any]] = [
    ("", None),
    ("a\nb", {"a": {"b": 1}}),
    ("<script>'\"", 1),
    ("../a/b?c#d", ["x", None, {}, [[]]]),
    ("%s %(x)s {0} \u202e\x1b[2J", [{"name": 1}]),
    ("9" * 500, True),
    ("1.0 ; 🚀", "x"),
    ("x", ["\ud800"]),
    ("x", {"\ud800": "\ud800"}),
    ("x", [dict.fromkeys(("name", "before", "after", "why"), "\ud800")]),
    ("-1", [{"name": {"a": 1}, "before": [1], "after": {}, "why": 5, "fixes": 3, "reach": []}]),
]


@pytest.fixture
def environment(db: None) -> Environment:
    """A row in every table: of a deployment, an upgrade, a policy, of what is known of packages."""
    environment = make_environment("production", "one", "two")
    pin(environment, "django==5.2.8", 'tzdata==2025.1 ; sys_platform == "win32"')
    for name in ("one", "two"):
        see(place(environment, name), "django==5.2.1", "extra==1.0")
    audit("django==5.2.8", "django==5.2.1")
    advise("GHSA-1", "django", "5.2.1")
    index("django==5.2.8")
    _write_history(environment)
    return environment


def _write_history(environment: Environment) -> None:
    before, after = (LockFile.objects.of(name, f"django=={name}\n") for name in ("5.2.8", "5.2.9"))
    release = Release.objects.make(environment, "c" * 40, "A subject", before)
    environment.placements.update(active_release=release)
    deployment = write_deployment(
        environment, state=State.FAILED, titles=("Ping",), release=release
    )
    step = Step.objects.first()
    assert step
    write_output(step, b"words")
    UpgradeStage.objects.create(
        upgrade=Upgrade.objects.create(requested_by_name="me", source="admin", wanted=[]),
        environment=environment,
        number=1,
        lock_before=before,
        lock_after=after,
        release_before=release,
        deployment=deployment,
    )
    policy = UpgradePolicy.objects.create(name="nightly", cron="1 2 * * *")
    policy.turns.create(environment=environment)
    policy.ignored.create(package="django", reason="later")
    PolicyRun.objects.create(policy=policy, slot=timezone.now())
    Schedule.objects.create(environment=environment, cron="1 2 * * *")
    Override.objects.create(environment=environment, name="django", version="5.2.8")


def spoil(text: str, json: Any) -> None:
    """Write it into every free text and every JSON field of a row of each table."""
    for model in apps.get_app_config("deploy_manager").get_models():
        row = model._default_manager.first()
        for field in model._meta.concrete_fields:
            if row is None or field.is_relation or field.choices:
                continue
            if isinstance(field, models.JSONField):
                _write(row, field.name, json)
            elif isinstance(field, (models.CharField, models.TextField)):
                _write(row, field.name, text[: field.max_length])


def _write(row: models.Model, field: str, value: Any) -> None:
    try:
        with transaction.atomic():
            type(row)._default_manager.filter(pk=row.pk).update(**{field: value})
    except IntegrityError:
        return  # the database itself refuses it


def addresses() -> Iterator[str]:
    """Every page of ours in the admin, with the keys of rows that are there."""
    names = get_resolver().namespace_dict["admin"][1].reverse_dict
    for name in sorted(key for key in names if str(key).startswith("deploy_manager_")):
        model = str(name).split("_")[2]
        row = apps.get_model("deploy_manager", model)._default_manager.first()
        key = row.pk if row else 1
        for args in ([], [key], [key, key], ["deploy"]):
            try:
                yield reverse(f"admin:{name}", args=args)
                break
            except NoReverseMatch:
                continue


def test_every_table_has_a_row_that_can_be_spoilt(environment: Environment) -> None:
    empty = [
        model.__name__ for model in admin.site._registry if not model._default_manager.exists()
    ]
    assert set(empty) <= {"Freeze", "Group", "Notification", "Permission", "User"}


@pytest.mark.parametrize(("text", "json"), few(*HOSTILE, first=2))
def test_no_page_fails_by_what_stands_in_a_row(
    environment: Environment, text: str, json: Any
) -> None:
    spoil(text, json)
    client = visitor("owner")
    client.raise_request_exception = False
    chosen = {"environment": environment.pk, "on": environment.pk}
    failed = [
        f"{address}: {vars(answer)['exc_info'][1]!r}"
        for address in addresses()
        if (answer := client.get(address, chosen)).status_code == 500
    ]
    assert not failed
