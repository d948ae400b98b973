"""A team with rights on single environments, and all that its pages can show."""

from dataclasses import dataclass, field
from typing import Any

from django.contrib.auth.models import User
from django.db import models
from django.http import HttpResponse
from django.test import Client
from django.utils import timezone
from guardian.shortcuts import assign_perm

from deploy_manager.models import (
    Advisory,
    AuditEvent,
    Credential,
    Deployment,
    Environment,
    IncomingWebhook,
    InstalledPackage,
    LockFile,
    Override,
    Placement,
    PolicyRun,
    Project,
    Release,
    Requirement,
    Schedule,
    Server,
    State,
    Step,
    Token,
    Upgrade,
    UpgradePolicy,
    UpgradeStage,
)
from tests.parts.admin import RUNS, make_user, url, write_deployment, write_output

HIDDEN = "hidden-site"
"""The name of an environment that only the administrator may see."""

LOG = b"a line of the log\n"


@dataclass
class Team:
    """`shop/production` on the server `one`, with the people who have rights on it."""

    site: Environment
    other: Environment
    hidden: Environment
    server: Server
    rows: dict[str, models.Model] = field(default_factory=dict)

    def key(self, name: str) -> Any:
        return self.rows[name].pk


ON_SITE = {
    "viewer": ("view_environment",),
    "approver": ("approve_environment",),
    "editor": ("change_environment",),
    "deployer": RUNS,
}
"""The rights on `shop/production` only. Nobody but the administrator has any on everything."""

ROLES = (
    *("anonymous", "stranger", "elsewhere", "viewer", "approver", "editor", "deployer"),
    *("keeper", "administrator"),
)
"""`elsewhere` deploys and changes another environment; `keeper` changes the server."""


def make_people(team: Team) -> dict[str, Client]:
    """Return a visitor for each role."""
    clients = {role: Client() for role in ROLES}
    people: dict[str, User] = {
        role: make_user(role, superuser=role == "administrator") for role in ROLES[1:]
    }
    for role, rights in ON_SITE.items():
        for right in rights:
            assign_perm(right, people[role], team.site)
    for right in (*RUNS, "change_environment"):
        assign_perm(right, people["elsewhere"], team.other)
    for right in ("change_server", "use_server"):
        assign_perm(right, people["keeper"], team.server)
    for role, user in people.items():
        backend = "django.contrib.auth.backends.ModelBackend"
        clients[role].force_login(user, backend=backend)
    return clients


def make_team() -> Team:
    """Write three environments, the third of them hidden; two have a row of each kind."""
    shop = Project.objects.create(name="shop", repository="/nowhere/shop.git")
    # Where nobody answers: pages that connect show why they can't.
    one = Server.objects.create(name="one", address="127.0.0.1", port=1, user="shop")
    sites = [
        Environment.objects.create(
            project=project, name=name, deploy_path=f"/srv/{name}", health_path=""
        )
        for project, name in (
            (shop, "production"),
            (shop, "staging"),
            (Project.objects.create(name="secret", repository="/nowhere/x.git"), HIDDEN),
        )
    ]
    production, staging, hidden = sites
    team = Team(production, staging, hidden, one)
    hidden_server = Server.objects.create(
        name=f"server-of-{HIDDEN}", address="127.0.0.1", port=2, user="shop"
    )
    Placement.objects.create(environment=team.site, server=one)
    Placement.objects.create(environment=team.hidden, server=one)
    Placement.objects.create(environment=team.hidden, server=hidden_server, order=2)
    write_rows(team.hidden, "hidden")
    team.rows = write_rows(team.site, "shop")
    return team


def write_rows(site: Environment, name: str) -> dict[str, models.Model]:
    """Write a row of each kind that belongs to an environment, and return them by their model."""
    placement = site.placements.all()[0]
    locks = [LockFile.objects.of(f"{name}-{n}".ljust(64, "0"), f"django==5.{n}\n") for n in (1, 2)]
    release = Release.objects.make(site, "a" * 40, f"Begin {site}", locks[0])
    ended = write_deployment(site, state=State.FAILED, release=release)
    write_output(Step.objects.filter(host_run__deployment=ended)[0], LOG)
    upgrade = Upgrade.objects.create(wanted=[], requested_by_name="me@here", source="manage.py")
    policy = UpgradePolicy.objects.create(name=f"nightly {site}", cron="0 2 * * *")
    policy.turns.create(environment=site, order=1)
    webhook = IncomingWebhook.objects.create(project=site.project, name=f"of-{name}", kind="github")
    webhook.environments.add(site)
    webhook.deliveries.create(delivery=name, event="push", outcome=f"Nothing to do on {site}.")
    return {
        "schedule": Schedule.objects.create(environment=site, recipe="ping", cron="0 3 * * *"),
        "credential": Credential.objects.create(
            name=f"key of {site}", kind="sudo", source="file", reference="/x", environment=site
        ),
        "auditevent": AuditEvent.objects.filter(environment_key=site.pk)[0],
        "environment": site,
        "project": site.project,
        "server": placement.server,
        "deployment": ended,
        "waiting": Deployment.objects.create(
            environment=site, recipe="ping", requested_by_name="me", source="fab", state="waiting"
        ),
        "release": release,
        "lockfile": locks[0],
        "lockfile2": locks[1],
        "upgrade": upgrade,
        "stage": UpgradeStage.objects.create(
            upgrade=upgrade,
            number=1,
            environment=site,
            lock_before=locks[0],
            lock_after=locks[1],
            release_before=release,
        ),
        "upgradepolicy": policy,
        "incomingwebhook": webhook,
        "policyrun": PolicyRun.objects.create(
            policy=policy, slot=timezone.now(), outcome=f"Nothing to do on {site}."
        ),
        "requirement": Requirement.objects.create(
            environment=site, name=f"{name}-kit", version="1.0"
        ),
        "override": Override.objects.create(environment=site, name="helper", version="2.0"),
        "installedpackage": InstalledPackage.objects.create(
            placement=placement, name=f"{name}-kit", version="1.0"
        ),
        "advisory": Advisory.objects.create(identifier=f"CVE-{name}", package=f"{name}-kit"),
        "commitstatus": site.project.commit_statuses.create(
            commit="a" * 40, context=f"tests of {site}", state="success"
        ),
        "token": Token.objects.issue(
            User.objects.create(username=f"robot of {name}"),
            [site],
            name=f"CI of {site}",
            scopes=["deploy"],
        )[0],
    }


def outcome(answer: HttpResponse) -> str:
    """Return what an answer is, in one character.

    2: a page; 3: done, and on to another; L: log in first; -: there is no such row, on to the
    start; C: refused with a reason; X: forbidden; .: not found; M: only by the other method.
    """
    where = answer.get("Location", "")
    if answer.status_code == 302 and where.startswith("/admin/login/"):
        return "L"
    if answer.status_code == 302 and where == "/admin/":
        return "-"
    known = {200: "2", 302: "3", 403: "X", 404: ".", 405: "M", 409: "C"}
    return known.get(answer.status_code, str(answer.status_code))


def address_of(team: Team, route: str, *keys: str) -> str:
    """Return the address of a route: its keys are names of rows, or words."""
    return url(route, *(team.key(key) if key in team.rows else key for key in keys))
