"""Every text of every table: what it reaches, how hostile text is tried in it, a sound value.

`rows` is tried for each of them: written by `update`, `bulk_create` and `loaddata`, then shown on
every page and by every command. `form` and `inline` are the admin's own, `import` the formats of
servers and requirements. `prepared` is looked at by the worker before any server; `deployed`
is carried to one, as far as anything lets it through. What is `code` is there to be run, and
carries hostile text as a word of its own.
"""

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from django.apps import apps
from django.db import models

from deploy_manager.models.message_field import MessageField
from deploy_manager.models.secret_field import SecretField

PLACES = frozenset({"server", "page", "terminal", "file", "nothing"})
TRIED = frozenset({"rows", "form", "inline", "import", "prepared", "deployed", "code"})

TABLE = """
Advisory
    identifier               | page terminal             | rows | GHSA-1
    package                  | page terminal             | rows | django
    aliases                  | page terminal             | rows | ["CVE-2026-0001"]
    summary                  | page terminal             | rows | Something is wrong.
    fixed_in                 | page terminal             | rows | ["5.2.8"]
    url                      | page terminal             | rows | https://advisories.example.org/1
AuditedVersion
    name                     | page terminal             | rows | django
    version                  | page terminal             | rows | 5.2.8
    problem                  | page terminal             | rows | No answer
Project
    name                     | server page terminal file | rows form prepared | shop
    repository               | file page                 | rows form prepared deployed | /srv/shop.git
    folder                   | server page               | rows form prepared | site
    requirements_file        | file page terminal        | rows form prepared | requirements.txt
Server
    name                     | server page terminal file | rows form import prepared | web1
    connection               | server page terminal      | rows form import prepared | ssh
    address                  | server page terminal file | rows form import prepared | 192.0.2.1
    private_address          | server page terminal file | rows form prepared | 192.0.2.1
    user                     | server page terminal file | rows form import prepared | deploy
    bootstrap_user           | server page terminal      | rows form prepared | root
    host_key                 | page terminal             | rows form | ssh-ed25519 AAAA
Freeze
    reason                   | page terminal             | rows | Sale
    frozen_by_name           | page terminal             | rows | me
    ended_by_name            | page terminal             | rows | me
Environment
    settings_module          | server page               | rows form prepared | shop.settings
    variables                | server page terminal file | rows form prepared deployed | {"GREETING": "hello"}
    shared                   | server page               | rows form prepared | ["media"]
    pins_from                | page                      | rows form prepared | commit
    python                   | server page               | rows form prepared | python3
    installer                | server page               | rows form prepared | pip
    index_url                | server page terminal file | rows form prepared | https://index.example.org/
    wheels                   | server page               | rows form prepared | index
    build_commands           | server page terminal      | rows form prepared deployed code | ["true"]
    smoke_command            | server page terminal      | rows form prepared deployed code | true
    reload_method            | server page               | rows form prepared | command
    reload_target            | server page terminal      | rows form prepared deployed code | true
    wsgi_application         | server page               | rows form prepared | site_wsgi:application
    supervisor               | server page               | rows form prepared | starter
    bind                     | server page terminal file | rows form prepared | 127.0.0.1:8001
    health_path              | server page               | rows form prepared | /health/
    health_text              | server page               | rows form prepared deployed | ok
    health_host              | server page               | rows form prepared | shop.example.org
    strategy                 | page                      | rows form prepared | all
    canary                   | page                      | rows form prepared | 1
    batch                    | page                      | rows form prepared | 25 %
    max_failures             | page                      | rows form prepared | 0
    role_order               | page terminal             | rows form prepared | ["app"]
    migrate                  | server page               | rows form prepared | never
    migrate_databases        | server page               | rows form prepared | ["default"]
    windows                  | page terminal             | rows form prepared | ["mon-fri 09:00-17:00"]
    required_statuses        | page terminal             | rows form prepared | ["tests"]
    time_zone                | page terminal             | rows form prepared | Europe/Paris
    name                     | server page terminal file | rows form prepared | production
    ref                      | file page terminal        | rows form prepared deployed | main
    deploy_path              | server page terminal file | rows form prepared | /srv/shop
Placement
    roles                    | server page terminal file | rows inline import prepared | ["app"]
    own_deploy_path          | server page terminal file | rows inline prepared | /srv/shop
    own_bind                 | server page terminal file | rows inline prepared | 127.0.0.1:8001
    own_reload_method        | server page               | rows inline prepared | command
    own_reload_target        | server page terminal      | rows inline prepared deployed code | true
    complete_releases        | page terminal             | rows | ["20260101"]
    inventory_problem        | page terminal             | rows | No answer
    implementation           | page terminal             | rows | CPython
    python_version           | page terminal             | rows | 3.12.4
    platform                 | page terminal             | rows | linux-x86_64
    libc                     | page terminal             | rows | glibc 2.36
    seen_in                  | nothing                   | rows | place
ConfirmedPlan
    digest                   | page                      | rows | 0123abcd
    parts                    | page                      | rows | [{"kind": "project", "name": "shop", "values": {"name": "shop"}}]
Requirement
    name                     | server page terminal file | rows form import prepared | django
    version                  | server page terminal file | rows form import prepared | 5.2.8
    extras                   | server page terminal file | rows form import prepared | ["argon2"]
    marker                   | server page terminal file | rows form import prepared | python_version < "4"
    hashes                   | server page terminal file | rows form import prepared | ["sha256:00"]
    url                      | server page terminal file | rows form import prepared | https://x.example.org/a.whl
LockFile
    digest                   | server page terminal      | rows | 0123abcd
    text                     | server page terminal file | rows prepared | django==5.2.8
Release
    name                     | server page terminal      | rows prepared | 20260101-1
    commit                   | server page terminal      | rows prepared | 0123abc
    subject                  | page terminal             | rows prepared deployed | Show the stock
    build                    | server page terminal      | rows prepared deployed code | ["true"]
    bad_reason               | page terminal             | rows | It is slow
HostRun
    server_name              | page terminal             | rows | web1
    state                    | page terminal             | rows | failed
    message                  | page terminal             | rows | It failed
Step
    phase                    | page terminal             | rows | run
    phase_title              | page terminal             | rows | Run
    recipe                   | page terminal             | rows | ping
    title                    | page terminal             | rows | Ping
    state                    | page terminal             | rows | failed
    message                  | page terminal             | rows | It failed
    resume_cursor            | server                    | rows prepared | {"command": 1}
LogChunk
    data                     | page terminal file        | rows | output
Deployment
    uses                     | server page               | rows | new
    max_failures             | page                      | rows | 0
    recipe                   | page terminal             | rows | ping
    ref                      | file page terminal        | rows | main
    commit                   | file page terminal        | rows | 0123abc
    state                    | page terminal             | rows | failed
    message                  | page terminal             | rows | It failed
    requested_by_name        | page terminal             | rows deployed | me
    source                   | page terminal             | rows | fab
    reason                   | page terminal             | rows deployed | A fix
    cancel_requested_by_name | page terminal             | rows | me
    forced_migrations        | server page terminal      | rows prepared | ["shop.0005_name"]
    arguments                | server page terminal      | rows prepared deployed | ["check", "--tag"]
    take_back                | page terminal             | rows | [{"name": "django", "from": "5.2.8", "to": "5.2.1"}]
Approval
    user_name                | page terminal             | rows | me
    decision                 | page terminal             | rows | approved
    reason                   | page terminal             | rows | Good
    digest                   | page                      | rows | 0123abcd
AuditEvent
    who                      | page terminal file        | rows | me
    source                   | page terminal file        | rows | admin
    address                  | page terminal file        | rows | 192.0.2.9
    action                   | page terminal file        | rows | changed
    kind                     | page terminal file        | rows | environment
    key                      | page terminal file        | rows | 1
    name                     | page terminal file        | rows | shop/production
    before                   | page terminal file        | rows | {"name": "old", "roles": ["app"]}
    after                    | page terminal file        | rows | {"name": "new", "roles": ["app"]}
Credential
    name                     | page terminal             | rows form prepared | key
    kind                     | page                      | rows form prepared | ssh
    source                   | page                      | rows form prepared | file
    secret                   | nothing                   | rows |
    passphrase               | nothing                   | rows |
    reference                | file page                 | rows form prepared | /etc/deploy/key
    command                  | file page                 | rows form prepared | vault
    host                     | file page                 | rows form prepared | git.example.org
    user                     | file page                 | rows form prepared | deploy
    public_key               | file page                 | rows form prepared | ssh-ed25519 AAAA
    certificate              | file page                 | rows form prepared | ssh-ed25519-cert-v01@openssh.com AAAA
    known_hosts              | file page                 | rows form prepared | git.example.org ssh-ed25519 AAAA
Upgrade
    wanted                   | page terminal             | rows | [{"name": "django", "reach": "patch", "version": "5.2.8", "fixed_in": ["5.2.8"]}]
    reason                   | page terminal file        | rows | A fix
    state                    | page terminal             | rows | running
    message                  | page terminal             | rows | It failed
    requested_by_name        | page terminal file        | rows | me
    source                   | page terminal             | rows | admin
    on_failure               | page terminal             | rows | return
    cancel_requested_by_name | page terminal             | rows | me
UpgradeStage
    state                    | page terminal             | rows | running
    message                  | page terminal             | rows | It failed
    moves                    | page terminal file        | rows | [{"name": "django", "before": "5.2.1", "after": "5.2.8", "why": "asked", "fixes": ["GHSA-1"], "advisories": ["GHSA-1"]}]
Override
    name                     | server page terminal file | rows prepared | django
    version                  | server page terminal file | rows prepared | 5.2.8
    marker                   | server page terminal file | rows prepared | python_version < "4"
    extras                   | server page terminal file | rows prepared | ["argon2"]
    hashes                   | server page terminal file | rows prepared | ["sha256:00"]
    before                   | page terminal             | rows | ["5.2.1"]
    why                      | page terminal             | rows | It was asked for
    fixes                    | page terminal             | rows | ["GHSA-1"]
    ended_how                | page terminal             | rows | let_go
    ended_why                | page terminal             | rows | Done
    ended_by_name            | page terminal             | rows | me
InstalledPackage
    name                     | page terminal             | rows | django
    version                  | page terminal             | rows | 5.2.8
IndexedPackage
    index_url                | page terminal             | rows | https://index.example.org/
    name                     | page terminal             | rows | django
    latest                   | page terminal             | rows | 5.2.9
    status                   | page terminal             | rows | archived
    requires_python          | page terminal             | rows | {"5.2.9": ">=3.10"}
    problem                  | page terminal             | rows | No answer
UpgradePolicy
    owner_name               | page terminal             | rows | me
    paused                   | page terminal             | rows | It waits
    name                     | page terminal             | rows form | nightly
    how_far                  | page terminal             | rows form | patch
    packages                 | page terminal             | rows form | ["django"]
    groups                   | page terminal             | rows form | [["django", "celery"]]
    cron                     | page terminal             | rows form | 1 2 * * *
    time_zone                | page terminal             | rows form | Europe/Paris
    on_failure               | page                      | rows form | return
    hand_back                | page                      | rows form | patch
IncomingWebhook
    name                     | page terminal             | rows form | from-github
    kind                     | page                      | rows form | github
    owner_name               | page terminal             | rows | me
    paused                   | page terminal             | rows | It waits
    outcome                  | page terminal             | rows | Nothing to do
WebhookDelivery
    delivery                 | page                      | rows | 0123abcd
    event                    | page                      | rows | push
    commit                   | page                      | rows | 0123abc
    outcome                  | page                      | rows | Nothing to do
OutgoingWebhook
    name                     | page terminal             | rows inline | chat
    form                     | page                      | rows inline | standard
    url                      | page                      | rows inline | https://hooks.example.org/1
    secret                   | nothing                   | rows |
    states                   | page                      | rows inline | ["failed"]
OutgoingDelivery
    problem                  | page                      | rows | No answer
IgnoredPackage
    package                  | page terminal             | rows inline | django
    advisory                 | page terminal             | rows inline | GHSA-1
    reason                   | page terminal             | rows inline | Later
PolicyRun
    outcome                  | page terminal             | rows | Nothing to do
Problem
    job                      | page terminal             | rows | beginning
    kind                     | page terminal             | rows | environment
    name                     | page terminal             | rows | shop/production
    text                     | page terminal             | rows | It is odd
Process
    name                     | server page terminal file | rows inline prepared | worker
    kind                     | server page terminal      | rows inline prepared | command
    command                  | server page terminal      | rows inline prepared deployed code | sleep 1000
    application              | server page               | rows inline prepared | shop
    roles                    | page                      | rows inline prepared | ["app"]
    bind                     | server page file          | rows inline prepared | 127.0.0.1:8002
    stop_signal              | server page file          | rows inline prepared | TERM
    health                   | server page               | rows inline prepared | command
    health_target            | server page               | rows inline prepared deployed code | true
Resolution
    kind                     | page                      | rows | pins
    environments             | page                      | rows | [1]
    asked                    | page terminal             | rows | {"text": "", "name": "", "commit": "", "lock": true}
    answer                   | page terminal             | rows | {"pins": "django==5.2.8", "problems": ["None"]}
    state                    | page                      | rows | succeeded
    message                  | page terminal             | rows | It failed
    language                 | nothing                   | rows | fr
Schedule
    owner_name               | page terminal             | rows | me
    paused                   | page terminal             | rows | It waits
    recipe                   | page terminal             | rows inline | ping
    cron                     | page terminal             | rows inline | 1 2 * * *
    time_zone                | page terminal             | rows inline | Europe/Paris
    outcome                  | page terminal             | rows | It was late
CommitStatus
    commit                   | page terminal             | rows | aaaaaaaa
    context                  | page terminal             | rows | tests
    state                    | page terminal             | rows | success
    description              | page terminal             | rows | All well
    url                      | page terminal             | rows | https://ci.example.org/1
    reported_by_name         | page terminal             | rows | me
Token
    name                     | page terminal             | rows | ci
    digest                   | nothing                   | rows | aaaa
    hint                     | page terminal             | rows | dm_aaaaaaaa
    scopes                   | page terminal             | rows | ["deploy"]
    last_used_from           | page terminal             | rows | 192.0.2.9
    revoked_by_name          | page terminal             | rows | me
IdempotencyKey
    key                      | nothing                   | rows | one
    request                  | nothing                   | rows | aaaa
    answer                   | nothing                   | rows | {"deployment": {"number": 1}}
Notification
    target                   | page                      | rows inline | team
    states                   | page                      | rows inline | ["failed"]
SecretVariable
    name                     | server page terminal file | rows inline prepared | API_KEY
    value                    | server                    | rows deployed |
    changed_by_name          | page terminal             | rows | me
Shard
    state                    | nothing                   | rows | ended
    holder                   | page terminal             | rows | here:1
Tier
    kind                     | server page terminal file | rows inline prepared | nginx
    name                     | server page terminal file | rows inline prepared | nginx
    roles                    | page                      | rows inline prepared | ["static"]
    listen                   | server page file          | rows inline prepared | ["http://*:80"]
    names                    | server page file          | rows inline prepared | ["shop.example.org"]
    certificate              | server page file          | rows inline prepared | /etc/ssl/shop.pem
    certificate_key          | server page file          | rows inline prepared | /etc/ssl/shop.key
    options                  | server page file          | rows inline prepared | {"max_body": "50m"}
    lines                    | server page file          | rows inline prepared code | gzip on;
    variable                 | server page file          | rows inline prepared | CACHE_URL
    secret                   | server file               | rows |
Watch
    problem                  | page terminal             | rows | No answer
    supervisor               | page terminal             | rows | systemd
    boot_id                  | nothing                   | rows | 0123abcd
    start_problem            | page terminal             | rows | It did not start
SeenProcess
    name                     | page terminal             | rows | web
    instance                 | page terminal             | rows | 1
    state                    | page terminal             | rows | up
    told                     | nothing                   | rows | up
    message                  | page terminal             | rows | It is odd
    releases                 | page terminal             | rows | 20260101
    restarts                 | nothing                   | rows | 1
"""  # noqa: E501  one field, one line

TextField = "models.Field[Any, Any]"


@dataclass(frozen=True)
class Known:
    """What the table says of one text."""

    model: type[models.Model]
    field: "models.Field[Any, Any]"
    reaches: frozenset[str]
    tried: frozenset[str]
    sound: str

    def __str__(self) -> str:
        return f"{self.model.__name__}.{self.field.name}"

    def texts(self, value: str) -> Iterator[Any]:
        """Yield what may be stored: the text alone, and behind a sound one."""
        whole = self.sound + value
        limit = self.field.max_length
        yield from dict.fromkeys((value[:limit], whole[:limit]))

    def spoilt(self, value: str) -> Iterator[Any]:
        """Yield what its column may be given with this text in it, at each place that has text."""
        if isinstance(self.field, MessageField):
            yield [{"code": value, "text": value}]
            yield [{"code": "x", "text": "%(a)s", "params": {"a": value}}]
        elif isinstance(self.field, models.JSONField):
            yield from in_each_place(json.loads(self.sound), value)
        elif isinstance(self.field, models.BinaryField):
            yield value.encode(errors="surrogatepass")
        elif not isinstance(self.field, SecretField):
            yield from self.texts(value)


def in_each_place(sound: Any, value: str) -> Iterator[Any]:
    """Yield JSON with a text in each place of it, as a key and as an item, one at a time."""
    if isinstance(sound, dict):
        for key, inner in sound.items():
            rest = {name: each for name, each in sound.items() if name != key}
            yield {**rest, value: inner}
            for each in in_each_place(inner, value):
                yield {**sound, key: each}
    elif isinstance(sound, list):
        for each in in_each_place(sound[0], value):
            yield [each, *sound[1:]]
    elif isinstance(sound, str):
        yield value
        yield sound + value
    else:
        yield value


def is_text(field: "models.Field[Any, Any]") -> bool:
    kinds = (models.CharField, models.TextField, models.JSONField, models.BinaryField)
    return isinstance(field, kinds) and not field.is_relation


def texts_of(model: type[models.Model]) -> "list[models.Field[Any, Any]]":
    return [field for field in model._meta.concrete_fields if is_text(field)]


def own_models() -> list[type[models.Model]]:
    return list(apps.get_app_config("deploy_manager").get_models())


def table() -> Mapping[str, Known]:
    """Return what the table says, by `Model.field`."""
    found: dict[str, Known] = {}
    model: type[models.Model] | None = None
    for line in TABLE.strip().splitlines():
        if not line.startswith(" "):
            model = apps.get_model("deploy_manager", line)
            continue
        assert model is not None
        name, reaches, tried, sound = (part.strip() for part in line.split("|"))
        field = model._meta.get_field(name)
        assert isinstance(field, models.Field)
        known = Known(model, field, frozenset(reaches.split()), frozenset(tried.split()), sound)
        found[str(known)] = known
    return found


def tried_by(way: str) -> list[Known]:
    return [known for known in table().values() if way in known.tried]
