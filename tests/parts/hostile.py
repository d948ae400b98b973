"""A row in every table, and what no form would have let through in its columns."""

from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from django.apps import apps
from django.contrib.auth.models import User
from django.db import DatabaseError, models, transaction
from django.db.models.expressions import RawSQL
from django.utils import timezone

from deploy_manager.exceptions import SecretUnreadable
from deploy_manager.messages import Message
from deploy_manager.models import (
    AuditEvent,
    ConfirmedPlan,
    Credential,
    Deployment,
    Environment,
    IncomingWebhook,
    LockFile,
    Override,
    PolicyRun,
    Problem,
    Release,
    Resolution,
    Schedule,
    State,
    Step,
    Token,
    Upgrade,
    UpgradePolicy,
    UpgradeStage,
    Watch,
)
from deploy_manager.sealing import Secret
from tests.parts.admin import write_deployment, write_output
from tests.parts.matrices import few
from tests.parts.packages import advise, audit, index, make_environment, pin, place, see

NULL = RawSQL("'null'", ())
"""The null of JSON, which is not the database's."""

FIRST, LAST = datetime(1, 1, 1, tzinfo=UTC), datetime(9999, 12, 31, 23, 59, tzinfo=UTC)
"""Moments that do not exist everywhere: west or east of Greenwich they are in another year."""


@dataclass(frozen=True)
class Hostile:
    """What goes into the columns of each kind; those of a kind that is None stay as they are."""

    text: str | None = None
    json: object = None
    moment: datetime | None = None
    choice: str | None = None
    number: int | None = None
    is_circle: bool = False
    """Whether rows that can refer to one of their own table refer to themselves."""

    def value_for(self, field: "models.Field[Any, Any]", row: models.Model) -> Any:
        """Return the value for a field of a row; None: it stays."""
        if field.primary_key:
            return None
        if field.is_relation:
            return row.pk if self.is_circle and field.related_model is type(row) else None
        if field.choices:
            is_text = isinstance(field, models.CharField)
            return self.choice and (self.choice[: field.max_length] if is_text else 9999)
        for kind, value in (
            (models.JSONField, self.json),
            ((models.CharField, models.TextField), self.text),
            (models.DateTimeField, self.moment),
            (models.DateField, self.moment and self.moment.date()),
            (models.IntegerField, self.number),
        ):
            if isinstance(field, kind):
                return value[: field.max_length] if isinstance(value, str) else value
        return None

    def spoil(self) -> None:
        """Write it into a row of each table."""
        for model in apps.get_app_config("deploy_manager").get_models():
            row = model._default_manager.first()
            for field in model._meta.concrete_fields:
                value = None if row is None else self.value_for(field, row)
                if row is not None and value is not None:
                    _write(row, field, value)


TEXTS: list[tuple[str, object]] = [
    ("", NULL),
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
HOSTILE = [
    Hostile(text="", json=NULL, moment=FIRST, is_circle=True),
    Hostile(text="a\nb", json=[{}, None, [[]]], moment=LAST, choice="weird", number=2**15 - 1),
    *(Hostile(text=text, json=json) for text, json in TEXTS),
    *(Hostile(moment=moment) for moment in (FIRST, LAST)),
    Hostile(choice="weird"),
    Hostile(json=NULL),
    Hostile(json=5),
    Hostile(json=[{}, None, [[]]]),
    *(Hostile(number=number) for number in (0, 2**15 - 1, 2**31 - 1)),
    Hostile(is_circle=True),
]
"""The first ones combine the kinds; alone, each is tried with --long."""

FEW_HOSTILE = few(*HOSTILE, first=2)


def make_rows() -> Environment:
    """Write a row in every table: of a deployment, an upgrade, a policy, of known packages."""
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
    Credential.objects.create(name="sudo", kind="sudo", source="file", reference="/etc/password")
    Override.objects.create(environment=environment, name="django", version="5.2.8")
    environment.notifications.create(target="mailto://x@example.org")
    now = timezone.now()
    watch = Watch.objects.create(
        placement=environment.placements.all()[0],
        seen_at=now,
        supervisor="systemd",
        rebooted_at=now,
        starts=1,
        started_at=now,
    )
    watch.processes.create(name="web", instance="1", since=now, message=Message("It is odd."))
    environment.freezes.create(reason="Sale", frozen_by_name="me", ended_at=timezone.now())
    asker = User.objects.create(username="asker")
    Resolution.objects.create(kind=Resolution.Kind.PINS, requested_by=asker)
    _write_parts(environment, deployment, asker)


def _write_parts(environment: Environment, deployment: Deployment, who: User) -> None:
    environment.secret_variables.create(name="API_KEY", value=Secret("not known"))
    environment.processes.create(name="worker", command="sleep 1000")
    environment.tiers.create(
        kind="nginx", name="nginx", listen=["http://*:80"], names=["shop.example.org"]
    )
    ConfirmedPlan.objects.of("0" * 64, [{"kind": "project", "name": "shop", "values": {}}])
    deployment.approvals.create(
        user=who, user_name=str(who), decision="approved", reason="Good", digest="0" * 64
    )
    environment.project.commit_statuses.create(commit="a" * 40, context="tests", state="success")
    token, _secret = Token.objects.issue(who, [environment], name="ci", scopes=["deploy"])
    _write_webhooks(environment, deployment)
    token.keys.create(key="one", request="a" * 64, status=201, answer={"deployment": {"number": 1}})
    Problem.objects.create(
        job="beginning",
        kind="environment",
        key=environment.pk,
        environment=environment,
        text=Message("It is odd."),
    )
    AuditEvent.objects.create(
        who="me", source="admin", action="changed", kind="environment", key=str(environment.pk)
    )


def _write_webhooks(environment: Environment, deployment: Deployment) -> None:
    webhook = IncomingWebhook.objects.create(
        project=environment.project, name="from-github", kind="github"
    )
    webhook.environments.add(environment)
    webhook.deliveries.create(
        delivery="one", event="push", commit="a" * 40, outcome=Message("Nothing to do.")
    )
    told = environment.outgoing_webhooks.create(
        name="chat", url="https://hooks.example.org/1", secret=Secret("not known")
    )
    told.deliveries.create(deployment=deployment, problem=Message("It answered 500."))


def _write(row: models.Model, field: "models.Field[Any, Any]", value: Any) -> None:
    try:
        with transaction.atomic():
            # Around the model: some tables refuse it themselves.
            models.QuerySet(type(row)).filter(pk=row.pk).update(**{field.attname: value})
    except (DatabaseError, SecretUnreadable):
        return  # the database, or the column itself, refuses it
