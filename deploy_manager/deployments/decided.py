"""What decides what runs: the rows behind a deployment, described field by field, and its hash.

A description is made when something is shown, confirmed and requested, and again before it is
carried out: where the two differ, other people have changed what was confirmed. Every column of the
tables in `DESCRIBED` counts unless `DECIDES_NOTHING` says why it does not, so that a new column
can't be forgotten. Secrets are their fingerprints, and plain variables hashes of their values: a
change is seen, a value is not.
"""

import hashlib
import json
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from django.core.serializers.json import DjangoJSONEncoder
from django.db import models
from django.utils.translation import gettext_noop as _

from deploy_manager.deployments.site_tiers import tier_variables, tiers_on
from deploy_manager.exceptions import DeployManagerError
from deploy_manager.masking import mask_logins
from deploy_manager.messages import Message
from deploy_manager.models import (
    ConfirmedPlan,
    Environment,
    IgnoredPackage,
    Override,
    Placement,
    PolicyEnvironment,
    Process,
    Project,
    Requirement,
    Schedule,
    SecretVariable,
    Server,
    Tier,
    UpgradePolicy,
)
from deploy_manager.models.processes import runs_on
from deploy_manager.models.shapes import texts_in
from deploy_manager.recipes.tiers import TIER_RECIPES
from deploy_manager.sealing import Sealed
from deploy_manager.site_secrets import unopened_secrets

SALT = "deploy_manager.decided"
HASHED = "hash:"
"""Stands before the hash of a value that is secret, or long."""

LONGEST = 300
"""Letters of a value that are kept as they are."""

_SEEN = _("Seen on the server, and written by the worker.")
_KEY = _("Names the row.")
_OWNER = _("It is part of the description of that row.")
_LABEL = _("Only shown: the same server under another name is the same.")
_HISTORY = _("Says how it came about, or how it ended: what holds is its version.")
_WATCH = _("Written by the loop that looks at it.")

DECIDES_NOTHING: Mapping[type[models.Model], Mapping[str, str]] = {
    Project: {"id": _KEY},
    Environment: {
        "id": _KEY,
        "key": _KEY,
        "project": _OWNER,
        "restart_down": _("For the time between deployments."),
    },
    Placement: {
        "id": _KEY,
        "environment": _OWNER,
        **dict.fromkeys(
            (
                *("active_release", "activated_at", "complete_releases", "seen_at"),
                *("inventory_at", "inventory_tried_at", "inventory_problem"),
                *("implementation", "python_version", "platform", "libc"),
                *("seen_in", "moved_at"),
            ),
            _SEEN,
        ),
    },
    Server: {"id": _KEY, "name": _LABEL},
    Process: {"id": _KEY, "environment": _OWNER},
    Tier: {"id": _KEY, "environment": _OWNER},
    SecretVariable: {
        "id": _KEY,
        "environment": _OWNER,
        **dict.fromkeys(("changed_at", "changed_by_name"), _HISTORY),
    },
    Requirement: {"id": _KEY, "environment": _OWNER},
    Override: {
        "id": _KEY,
        "environment": _OWNER,
        **dict.fromkeys(
            (
                *("before", "why", "fixes", "since", "upgrade", "replaced_by"),
                *("ended_at", "ended_how", "ended_why", "ended_by_name"),
            ),
            _HISTORY,
        ),
    },
    Schedule: {
        "id": _KEY,
        "environment": _OWNER,
        "is_enabled": _("One that is off asks for nothing."),
        **dict.fromkeys(("looked_at", "outcome", "paused"), _WATCH),
        **dict.fromkeys(("owner", "owner_name", "plan"), _("Checked beside the plan.")),
    },
    UpgradePolicy: {
        "id": _KEY,
        "name": _LABEL,
        "is_enabled": _("One that is off asks for nothing."),
        **dict.fromkeys(("looked_at", "paused"), _WATCH),
        **dict.fromkeys(("owner", "owner_name"), _("Checked beside the plan.")),
    },
    PolicyEnvironment: {"id": _KEY, "policy": _OWNER, "plan": _("Checked beside the plan.")},
    IgnoredPackage: {"id": _KEY, "policy": _OWNER, "reason": _("For people.")},
}
"""By table: the columns that do not count, each with the reason."""

DESCRIBED = tuple(DECIDES_NOTHING)
"""Tables whose columns count. Later ones come in by a line in `DECIDES_NOTHING`."""

SECRET: Mapping[type[models.Model], frozenset[str]] = {
    Environment: frozenset({"variables"}),
}
"""Columns whose values are never kept: of an object each value alone is hashed."""

FIXED_BY_REQUEST = frozenset(
    {
        *("ref", "strategy", "canary", "batch", "pause", "max_failures", "role_order"),
        *("rollback_on_failure", "approvals_needed", "approval_hours"),
        *("windows", "time_zone"),
    }
)
"""Columns of an environment that a request writes on its own rows, or that only say when: later
changes there are for later deployments. For schedules and policies they count."""

PINS = ("requirements", "overrides")
"""Parts that count until a release is made."""


@dataclass(frozen=True)
class Part:
    """One row that decides: what it is, its key, its name for people, and its fields."""

    kind: str
    key: str
    label: str = field(compare=False)
    fields: Mapping[str, Any]

    @property
    def id(self) -> tuple[str, str]:
        return self.kind, self.key

    def as_json(self) -> dict[str, Any]:
        return {
            "kind": self.kind,
            "key": self.key,
            "label": self.label,
            "fields": dict(self.fields),
        }


@dataclass(frozen=True)
class Change:
    """A field that differs: None stands for a row, or a value, that was not there or is gone."""

    part: Part
    name: str
    before: Any
    after: Any

    def describe(self) -> Message:
        words = {"field": self.label, "row": self.part.label, "kind": _title(self.part.kind)}
        if HASHED in f"{self.before}{self.after}" or self.name == "":
            text = _("%(field)s of %(row)s (%(kind)s)")
            if self.name == "":
                is_new = self.before is None
                text = _("%(kind)s %(row)s was added") if is_new else _("%(kind)s %(row)s is gone")
            return Message(text, **words)
        return Message(
            _("%(field)s of %(row)s (%(kind)s): %(before)s → %(after)s"),
            before=_shown(self.before),
            after=_shown(self.after),
            **words,
        )

    @property
    def label(self) -> Message | str:
        """The field's name, as its form has it."""
        model = next((each for each in DESCRIBED if _kind(each) == self.part.kind), None)
        name, _dot, inner = self.name.partition(".")
        known = {each.name: each for each in model._meta.concrete_fields} if model else {}
        if name not in known:
            return self.name
        title = Message(getattr(known[name], "verbose_name", name))
        return Message("%(title)s %(inner)s", title=title, inner=inner) if inner else title


@dataclass(frozen=True)
class Description:
    """All that decides what runs on some servers of an environment, in one order."""

    parts: tuple[Part, ...]

    @property
    def digest(self) -> str:
        counted = [(part.kind, part.key, part.fields) for part in self.parts]
        return _sha256(counted)

    def save(self) -> ConfirmedPlan:
        """Return its row, written if there is none."""
        return ConfirmedPlan.objects.of(self.digest, [part.as_json() for part in self.parts])


def describe(
    environment: Environment,
    placements: Iterable[Placement] | None = None,
    *,
    pins: bool = True,
    recipes: Collection[str] = (),
    actor: Schedule | UpgradePolicy | None = None,
) -> Description:
    """Describe what decides what runs on some placements of an environment; None: on all.

    With `pins`, those that are listed on it count, too; `recipes` are those that would run, and
    `actor` the schedule or policy that asks. The number of queries is always the same.
    """
    read = (
        Environment.objects.select_related("project", "builder")
        .prefetch_related("placements__server", "processes", "tiers", "secret_variables")
        .get(pk=environment.pk)
    )
    everywhere = list(read.placements.all())
    for each in everywhere:
        each.environment = read  # else each would read it once more
    keys = None if placements is None else {each.pk for each in placements}
    chosen = [each for each in everywhere if keys is None or each.pk in keys]
    parts = [
        part_of(read.project, read.project.name),
        part_of(read, str(read)),
        *(_placement(each, everywhere, recipes) for each in chosen),
        *(part_of(each, each.name) for each in _servers(read, chosen)),
        *(part_of(each, f"{each} of {read}") for each in read.processes.all()),
        *(part_of(each, f"{each} of {read}") for each in read.tiers.all()),
        *(part_of(each, f"{each} of {read}") for each in read.secret_variables.all()),
        Part("tier_variables", "", str(read), _tier_variables(read)),
        *_actor(actor),
        *(_pins(read) if pins else []),
    ]
    return Description(tuple(sorted(parts, key=lambda part: part.id)))


def as_read(
    environment: Environment, placements: Iterable[Placement] = (), *, pins: bool = False
) -> Description:
    """Describe rows as these objects have them: what is done is made of them, and not read again.

    With `pins`, those that are listed count, too. Nothing is read that was read already.
    """
    chosen = list(placements)
    servers: dict[int, Server] = {}
    for each in (*(each.server for each in chosen), environment.builder):
        hop = each
        while hop is not None and hop.pk not in servers:
            servers[hop.pk] = hop
            hop = hop.gateway
    rows: list[models.Model] = [environment.project, environment, *chosen, *servers.values()]
    for of_it in (environment.processes, environment.tiers, environment.secret_variables):
        rows += of_it.all()
    parts = [*(part_of(each, str(each)) for each in rows), *(_pins(environment) if pins else ())]
    return Description(tuple(parts))


def _actor(actor: Schedule | UpgradePolicy | None) -> Iterator[Part]:
    if actor is not None:
        yield part_of(actor, str(actor))
    if isinstance(actor, UpgradePolicy):
        for turn in actor.turns.select_related("environment__project"):
            yield part_of(turn, f"{turn.environment} of {actor}")
        for ignored in actor.ignored.all():
            yield part_of(ignored, f"{ignored} of {actor}")


def part_of(row: models.Model, label: str) -> Part:
    """Return all columns of a row that count."""
    return Part(_kind(type(row)), str(row.pk), label, _fields(row))


def kept(plan: ConfirmedPlan | None) -> Description:
    """Return a description as a row keeps it, as far as that can be read."""
    data = plan.parts if plan is not None and isinstance(plan.parts, list) else []
    parts = [
        Part(str(each["kind"]), str(each["key"]), str(each.get("label", "")), each["fields"])
        for each in data
        if isinstance(each, dict) and {"kind", "key"} <= each.keys()
        if isinstance(each.get("fields"), dict)
    ]
    return Description(tuple(parts))


def differences(
    before: Description, after: Description, ignored: Collection[str] = ()
) -> list[Change]:
    """Return what differs, in the order of the parts; `ignored` are columns of the environment."""
    old = {part.id: part for part in before.parts}
    new = {part.id: part for part in after.parts}
    return [
        change
        for key in sorted(old.keys() | new.keys())
        for change in _changes(old.get(key), new.get(key))
        if not (key[0] == _kind(Environment) and change.name in ignored)
    ]


def _changes(old: Part | None, new: Part | None) -> Iterator[Change]:
    if old is None or new is None:
        if part := old or new:
            yield Change(part, "", old and True, new and True)
        return
    for name in sorted(old.fields.keys() | new.fields.keys()):
        before, after = old.fields.get(name), new.fields.get(name)
        if before == after:
            continue
        if isinstance(before, dict) and isinstance(after, dict):
            # By their keys: of variables only the names are for people.
            for inner in sorted(before.keys() | after.keys()):
                if before.get(inner) != after.get(inner):
                    yield Change(new, f"{name}.{inner}", before.get(inner), after.get(inner))
        else:
            yield Change(new, name, before, after)


def _placement(
    placement: Placement, everywhere: Sequence[Placement], recipes: Collection[str]
) -> Part:
    with_code = [each for each in everywhere if each.has_code]
    known = {role for each in with_code for role in texts_in(each.roles)}
    own = texts_in(placement.roles)
    processes = placement.environment.processes.all()
    here = [each.name for each in processes if runs_on(each, own, known)]
    fields = {**_fields(placement), "processes": here}
    if TIER_RECIPES.intersection(recipes):
        fields["tiers"] = _tiers(placement)
    return Part(_kind(Placement), str(placement.pk), str(placement), fields)


def _tiers(placement: Placement) -> str:
    try:
        return _hash(repr(tiers_on(placement, unopened_secrets(placement.environment))))
    except DeployManagerError as error:
        return _hash(str(error))  # it stops when it is carried out, in these words


def _tier_variables(environment: Environment) -> dict[str, str]:
    try:
        # With the mask for their passwords, which count by the fingerprints of their rows.
        found = tier_variables(environment, unopened_secrets(environment))
    except DeployManagerError as error:
        return {"": _hash(str(error))}
    return {name: _hash(secret.value) for name, secret in found.items()}


def _servers(environment: Environment, placements: Sequence[Placement]) -> list[Server]:
    """The servers of some placements, the one that builds, and the gateways before them."""
    found = {each.server.pk: each.server for each in placements}
    if environment.builder:
        found[environment.builder.pk] = environment.builder
    while wanted := {each.gateway_id for each in found.values() if each.gateway_id} - found.keys():
        before = len(found)
        found.update({each.pk: each for each in Server.objects.filter(pk__in=wanted)})
        if len(found) == before:
            break  # a gateway that is gone: rows are also written around constraints
    return list(found.values())


def gateways_of(description: Description, server: str) -> set[str]:
    """Return the keys of a server and of the gateways before it, as a description has them."""
    servers = {part.key: part for part in description.parts if part.kind == _kind(Server)}
    found: set[str] = set()
    hop: str | None = server
    while hop in servers and hop not in found:
        found.add(hop)
        gateway = servers[hop].fields.get("gateway")
        hop = None if gateway is None else str(gateway)
    return found


def _pins(environment: Environment) -> Iterator[Part]:
    rows: dict[str, Iterable[Requirement | Override]] = {
        "requirements": environment.requirements.all()
        if environment.pins_from == Environment.PinsFrom.ROWS
        else (),
        "overrides": environment.overrides.live(),
    }
    for kind, found in rows.items():
        fields = {
            f"{row.name} {row.marker}".strip(): f"{row.version} {_sha256(_fields(row))[:12]}"
            for row in found
        }
        yield Part(kind, "", str(environment), fields)


def _fields(row: models.Model) -> dict[str, Any]:
    model = type(row)
    left_out, secret = DECIDES_NOTHING[model], SECRET.get(model, frozenset())
    return {
        each.name: _value(getattr(row, each.attname), is_secret=each.name in secret)
        for each in model._meta.concrete_fields
        if each.name not in left_out
    }


def _value(value: Any, *, is_secret: bool) -> Any:
    if isinstance(value, Sealed):
        return f"{HASHED}{value.fingerprint}"
    if is_secret:
        if isinstance(value, dict):
            return {name: _hash(each) for name, each in value.items()}
        return _hash(value)
    plain = json.loads(json.dumps(value, cls=DjangoJSONEncoder))
    text = (plain if isinstance(plain, str) else json.dumps(plain)).encode()
    # A login in a URL is a secret in a place where none should be. What else is masked depends on
    # who describes: a worker knows the site's secrets, and must come to the same as the web server.
    return plain if len(text) <= LONGEST and mask_logins(text) == text else _hash(value)


def _hash(value: Any) -> str:
    text = json.dumps(value, cls=DjangoJSONEncoder)
    # Not keyed: web server and worker, who both make it, share no secret. What is declared secret
    # is not hashed at all, since the hash of a short password could be guessed by trying.
    return HASHED + hashlib.sha256(f"{SALT} {text}".encode()).hexdigest()[:32]


def _sha256(data: Any) -> str:
    text = json.dumps(data, sort_keys=True, separators=(",", ":"), cls=DjangoJSONEncoder)
    return hashlib.sha256(text.encode()).hexdigest()


def _kind(model: type[models.Model]) -> str:
    return str(model._meta.model_name)


def _title(kind: str) -> Message | str:
    model = next((each for each in DESCRIBED if _kind(each) == kind), None)
    return Message(model._meta.verbose_name or kind) if model else kind


def _shown(value: Any) -> str:
    if value in (None, "", [], {}):
        return "—"
    text = value if isinstance(value, str) else json.dumps(value)
    return text if len(text) <= 80 else f"{text[:79]}…"
