"""What a user may see: of each model, the rows of the environments and servers they may see.

What one may not see does not exist: not in a list, a choice, a filter, a count or a message. So
every page and form of the admin, and every answer of the API, takes its rows from `visible`.
"""

from collections.abc import Callable, Sequence
from typing import Any, TypeVar

from django.core.exceptions import ImproperlyConfigured
from django.db.models import Exists, Model, OuterRef, Q, QuerySet, TextField
from django.db.models.functions import Cast
from django.http import HttpRequest

from deploy_manager.auditing import GUARDIAN, audited_models
from deploy_manager.models import (
    Advisory,
    Approval,
    AuditEvent,
    CommitStatus,
    Credential,
    Environment,
    HostRun,
    IgnoredPackage,
    IncomingWebhook,
    InstalledPackage,
    LockFile,
    LogChunk,
    OutgoingDelivery,
    PolicyEnvironment,
    PolicyRun,
    Project,
    Release,
    Requirement,
    SeenProcess,
    Server,
    Shard,
    Step,
    Token,
    Upgrade,
    UpgradePolicy,
    UpgradeStage,
    Watch,
    WebhookDelivery,
)
from deploy_manager.models.rights import Right, is_limited, may

APP = "deploy_manager"
_Row = TypeVar("_Row", bound=Model)
_Place = TypeVar("_Place", Environment, Server)

OF_ENVIRONMENT: dict[type[Model], str] = {
    Approval: "deployment__environment",
    HostRun: "deployment__environment",
    InstalledPackage: "placement__environment",
    LogChunk: "deployment__environment",
    OutgoingDelivery: "webhook__environment",
    SeenProcess: "watch__placement__environment",
    Shard: "deployment__environment",
    Step: "host_run__deployment__environment",
    Watch: "placement__environment",
}
"""The way to the one environment of a row, where that is not the model's own `environment`."""

OF_SERVERS_TOO = (AuditEvent, Credential)
"""Models whose rows may be about a server: all environments are not enough to see all of them."""

OF_NO_ENVIRONMENT = (
    *(Credential, IgnoredPackage, IncomingWebhook, Project, Server, Token),
    UpgradePolicy,
)
"""Models in the audit whose rows may belong to no environment, or to several."""

Seen = Callable[[QuerySet[Environment]], Q]


def _of_lock_file(seen: QuerySet[Environment]) -> Q:
    releases = Release.objects.filter(Q(lock=OuterRef("pk")) | Q(repository_lock=OuterRef("pk")))
    stages = UpgradeStage.objects.filter(
        Q(lock_before=OuterRef("pk"))
        | Q(lock_after=OuterRef("pk"))
        | Q(listed_before=OuterRef("pk"))
    )
    return Q(Exists(releases.filter(environment__in=seen))) | Q(
        Exists(stages.filter(environment__in=seen))
    )


def _of_upgrade(seen: QuerySet[Environment]) -> Q:
    stages = UpgradeStage.objects.filter(upgrade=OuterRef("pk"))
    return ~Q(Exists(stages.exclude(environment__in=seen)))


def _of_policy(seen: QuerySet[Environment], key: str = "pk") -> Q:
    turns = PolicyEnvironment.objects.filter(policy=OuterRef(key))
    return ~Q(Exists(turns.exclude(environment__in=seen)))


def _of_advisory(seen: QuerySet[Environment]) -> Q:
    # What is installed, or pinned, where one may look. A list of names: few, and fast to compare.
    installed = InstalledPackage.objects.filter(placement__environment__in=seen)
    pinned = Requirement.objects.filter(environment__in=seen)
    names = {
        name
        for rows in (installed, pinned)
        for name in rows.order_by().values_list("name", flat=True).distinct()
    }
    return Q(package__in=names)


OF_SEVERAL: dict[type[Model], Seen] = {
    Advisory: _of_advisory,
    IgnoredPackage: lambda seen: _of_policy(seen, "policy"),
    LockFile: _of_lock_file,
    PolicyRun: lambda seen: _of_policy(seen, "policy"),
    Upgrade: _of_upgrade,
    UpgradePolicy: _of_policy,
}
"""Models whose rows concern several environments.

Lock files and advisories say nothing of these, so that one which may be seen is enough. What an
upgrade or a policy does with one is told together with the others: all of them have to be visible.
"""


def visible(request: HttpRequest, found: QuerySet[_Row]) -> QuerySet[_Row]:
    """Return those rows that the user may see. Rows of other apps are not ours to hide.

    Raises ImproperlyConfigured for a model of this app of which nobody said whom it is shown.
    """
    model = found.model
    if model is Environment:
        return _of_places(request, found, Environment, Right.VIEW)
    if model is Server:
        return _of_places(request, found, Server, Right.VIEW_SERVER)
    if model._meta.app_label != APP or _sees_all_of(request, model):
        return found
    environments = allowed(request, Right.VIEW, Environment.objects.order_by())
    if model in OF_MORE_RIGHTS:
        return found.filter(OF_MORE_RIGHTS[model](request, environments))
    if way := way_to_environment(model):
        return found.filter(**{f"{way}__in": environments})
    if model in OF_SEVERAL:
        return found.filter(OF_SEVERAL[model](environments))
    raise ImproperlyConfigured(f"Nobody said who may see rows of {model._meta.label}.")


def way_to_environment(model: type[Model]) -> str:
    """Return the way from a row to the one environment that it belongs to; blank: it has none."""
    own = (field for field in model._meta.fields if field.related_model is Environment)
    return OF_ENVIRONMENT.get(model) or next((field.name for field in own), "")


def is_visible(request: HttpRequest, row: Model) -> bool:
    """Whether the user may see a row."""
    if isinstance(row, Environment):
        return may(request.user, Right.VIEW, row)
    if isinstance(row, Server):
        return may(request.user, Right.VIEW_SERVER, row)
    found = type(row)._base_manager.filter(pk=row.pk)
    return _sees_all_of(request, type(row)) or visible(request, found).exists()


def _sees_all_of(request: HttpRequest, model: type[Model]) -> bool:
    return (
        sees_all(request)
        and model is not Token
        and (model not in OF_SERVERS_TOO or may(request.user, Right.VIEW_SERVER, None))
    )


def _of_projects(request: HttpRequest, seen: QuerySet[Environment]) -> Q:
    if _may_see_projects(request):
        return Q()
    return Q(Exists(seen.filter(project=OuterRef("pk"))))


def _of_credentials(request: HttpRequest, seen: QuerySet[Environment]) -> Q:
    servers = visible(request, Server.objects.order_by())
    projects = visible(request, Project.objects.order_by())
    return (
        (Q(environment=None) | Q(environment__in=seen))
        & (Q(server=None) | Q(server__in=servers))
        & (Q(project=None) | Q(project__in=projects))
    )


def _of_events(request: HttpRequest, seen: QuerySet[Environment]) -> Q:
    """Return the events of environments that may be seen, and those of other rows that may be.

    Events of accounts and groups are for all who may read the audit.
    """
    of_rows = [model for model in audited_models() if model._meta.app_label in (APP, GUARDIAN)]
    rest = ~Q(kind__in=[model._meta.model_name for model in of_rows])
    for model in of_rows:
        # Of the others it is known which environment each belongs to.
        if model in OF_NO_ENVIRONMENT:
            rows = visible(request, model._default_manager.order_by())
            keys = rows.annotate(_key=Cast("pk", TextField())).values("_key")
            rest |= Q(kind=model._meta.model_name, key__in=keys)
    known = Q(environment_key__isnull=False) if sees_all(request) else Q(environment_key__in=seen)
    return known | (Q(environment_key__isnull=True) & rest)


def _of_project(request: HttpRequest, seen: QuerySet[Environment]) -> Q:
    return Q(project__in=visible(request, Project.objects.order_by()))


def _of_webhooks(request: HttpRequest, seen: QuerySet[Environment]) -> Q:
    deploys = IncomingWebhook.environments.through.objects.filter(incomingwebhook=OuterRef("pk"))
    return _of_project(request, seen) & ~Q(Exists(deploys.exclude(environment__in=seen)))


def _of_tokens(request: HttpRequest, seen: QuerySet[Environment]) -> Q:
    """Return a user's own tokens; those of all people for whom keeps them."""
    user: Any = request.user
    if user.is_active and not is_limited(user) and user.has_perm(f"{APP}.change_token"):
        return Q()
    return Q(user=user.pk)


OF_MORE_RIGHTS: dict[type[Model], Callable[[HttpRequest, QuerySet[Environment]], Q]] = {
    AuditEvent: _of_events,
    CommitStatus: _of_project,
    Credential: _of_credentials,
    IncomingWebhook: _of_webhooks,
    Project: _of_projects,
    Token: _of_tokens,
    WebhookDelivery: lambda request, seen: Q(
        webhook__in=visible(request, IncomingWebhook.objects.order_by())
    ),
}
"""Models whose rows depend on more rights than those on environments."""


def sees_all(request: HttpRequest) -> bool:
    """Whether the user may see every environment there is or will be."""
    return may(request.user, Right.VIEW, None)


def allowed(request: HttpRequest, right: Right, found: QuerySet[_Place]) -> QuerySet[_Place]:
    """Return those environments, or servers, on which the user has a right."""
    if may(request.user, right, None):
        return found
    return found.filter(pk__in=_ids(request, right, found.model))


def may_any(request: HttpRequest, right: Right, model: type[Environment | Server]) -> bool:
    """Whether the user has a right on any row, or would have if there were one."""
    return may(request.user, right, None) or bool(_ids(request, right, model))


def may_on(request: HttpRequest, right: Right, place: Environment | Server | None) -> bool:
    """Whether the user has a right on a row; None: on any, or would have if there were one.

    A right on servers has to come with a server.
    """
    return may_on_any(request, right) if place is None else may(request.user, right, place)


def may_on_any(request: HttpRequest, right: Right) -> bool:
    """Whether the user has a right on any environment, or would have if there were one."""
    return may_any(request, right, Environment)


def _of_places(
    request: HttpRequest, found: QuerySet[Any], model: type[Environment | Server], right: Right
) -> QuerySet[Any]:
    if may(request.user, right, None):
        return found
    return found.filter(pk__in=_ids(request, right, model))


def _may_see_projects(request: HttpRequest) -> bool:
    user: Any = request.user
    if is_limited(user):
        return may(user, Right.VIEW, None)
    rights = (f"{APP}.{verb}_project" for verb in ("view", "change", "add"))
    return bool(user.is_active and any(user.has_perm(right) for right in rights))


def _ids(request: HttpRequest, right: Right, model: type[Environment | Server]) -> frozenset[int]:
    """Return the ids of the rows on which the user has a right, computed once per request."""
    known: dict[Right, frozenset[int]] = request.__dict__.setdefault("_allowed_ids", {})
    if right not in known:
        rows = _all_rows(request, model)
        known[right] = frozenset(row.pk for row in rows if may(request.user, right, row))
    return known[right]


def _all_rows(
    request: HttpRequest, model: type[Environment | Server]
) -> Sequence[Environment | Server]:
    """Return every row, read once per request: no query can ask the backends."""
    known: dict[type, Sequence[Any]] = request.__dict__.setdefault("_rows_asked_about", {})
    if model not in known:
        rows: QuerySet[Any] = model._base_manager.all()
        if model is Environment:
            rows = Environment.objects.select_related("project")
        known[model] = list(rows)
    return known[model]
