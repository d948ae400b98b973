"""Packages, advisories, statuses and notes by the API: of what the token may see, and no more."""

from datetime import timedelta

import pytest
from django.contrib.auth.models import User
from django.utils import timezone
from guardian.shortcuts import assign_perm

from deploy_manager.models import (
    Advisory,
    AuditedVersion,
    CommitStatus,
    Deployment,
    Environment,
    HostRun,
    InstalledPackage,
    LockFile,
    Placement,
    Release,
    Requirement,
    State,
)
from tests.inventory import Inventory
from tests.parts.admin import make_user, write_deployment
from tests.parts.api import Caller, caller, problem_of
from tests.parts.repository import Repository

pytestmark = pytest.mark.django_db
STATUS = {"project": "shop", "commit": "a" * 40, "context": "tests", "state": "success"}


@pytest.fixture
def boss() -> User:
    return make_user("boss", superuser=True)


@pytest.fixture
def who(boss: User, inventory: Inventory) -> Caller:
    return caller(boss)


@pytest.fixture
def staging(inventory: Inventory) -> Environment:
    made: Environment = Environment.objects.create(
        project=inventory.environment.project, name="staging", deploy_path="/srv/staging"
    )
    server = inventory.environment.placements.get().server
    Placement.objects.create(environment=made, server=server, own_deploy_path="/srv/staging")
    return made


def install(environment: Environment, version: str) -> None:
    placement = environment.placements.get()
    placement.inventory_at = timezone.now()
    placement.save()
    InstalledPackage.objects.create(placement=placement, name="django", version=version)


def test_who_runs_a_version(who: Caller, inventory: Inventory, staging: Environment) -> None:
    install(inventory.environment, "5.2.7")
    install(staging, "5.2.8")
    Requirement.objects.create(environment=inventory.environment, name="django", version="5.2.8")
    told = who.get("packages", spec="Django<5.2.8").json()
    assert told["runs"] == [
        {
            "environment": "shop/production",
            "server": "one",
            "version": "5.2.7",
            "pinned": "5.2.8",
            "is_comparable": True,
        }
    ]
    assert who.get("packages", name="django", below="5.2.8").json() == told | {
        "spec": "django<5.2.8"
    }
    assert len(who.get("packages", name="django").json()["runs"]) == 2


def test_a_token_of_one_environment_sees_that_one(
    boss: User, inventory: Inventory, staging: Environment
) -> None:
    install(inventory.environment, "5.2.7")
    install(staging, "5.2.7")
    runs = caller(boss, staging).get("packages", spec="django<6").json()["runs"]
    assert [each["environment"] for each in runs] == ["shop/staging"]


def test_servers_that_nobody_asked_are_named(who: Caller, inventory: Inventory) -> None:
    told = who.get("packages", spec="django<6").json()
    assert told["unseen"] == [{"environment": "shop/production", "server": "one"}]


def test_advisories_say_who_is_exposed(
    boss: User, who: Caller, inventory: Inventory, staging: Environment
) -> None:
    for each in (inventory.environment, staging):
        install(each, "5.2.7")
    known = AuditedVersion.objects.create(name="django", version="5.2.7", checked_at=timezone.now())
    known.advisories.add(
        Advisory.objects.create(identifier="CVE-1", package="django", fixed_in=["5.2.8"])
    )
    told = who.get("advisories").json()["vulnerable"]
    assert [each["environment"] for each in told] == ["shop/production", "shop/staging"]
    assert told[0]["fixed_in"] == "5.2.8"
    assert told[0]["advisories"][0]["identifier"] == "CVE-1"
    ours = caller(boss, staging).get("advisories").json()["vulnerable"]
    assert [each["environment"] for each in ours] == ["shop/staging"]
    assert who.get("advisories", environment="shop/staging").json()["vulnerable"] == ours


# Statuses


def test_a_status_is_noted_with_who_reported_it(who: Caller) -> None:
    answer = who.post("statuses", {**STATUS, "url": "https://ci.example.org/1"})
    assert answer.status_code == 201
    row = CommitStatus.objects.get()
    assert (row.state, row.reported_by_name) == ("success", "boss (token ci)")
    found = who.get("statuses", project="shop", commit="a" * 40).json()
    assert found[0]["context"] == "tests"


def test_a_later_word_counts_whatever_the_order(who: Caller) -> None:
    now = timezone.now()
    later = {**STATUS, "state": "failure", "at": now.isoformat()}
    who.post("statuses", later)
    earlier = {**STATUS, "at": (now - timedelta(minutes=1)).isoformat()}
    told = who.post("statuses", earlier).json()
    assert (told["taken"], told["state"]) == (False, "failure")
    assert CommitStatus.objects.get().state == "failure"


def test_a_word_of_the_future_is_refused(who: Caller) -> None:
    """Nothing said later would count until then."""
    later = (timezone.now() + timedelta(hours=1)).isoformat()
    problem_of(who.post("statuses", {**STATUS, "at": later}), 422)
    soon = (timezone.now() + timedelta(minutes=1)).isoformat()
    assert who.post("statuses", {**STATUS, "at": soon}).status_code == 201


def test_whoever_may_only_report_reports_and_sees_nothing(inventory: Inventory) -> None:
    ci = make_user("ci")
    assign_perm("deploy_manager.add_commitstatus", ci)
    reports = caller(ci, scopes=["report"])
    assert reports.post("statuses", STATUS).status_code == 201
    problem_of(reports.get("statuses", project="shop"), 404)
    assert reports.get("environments").json() == []
    problem_of(reports.post("statuses", {**STATUS, "project": "nowhere"}), 404)


# Notes


def test_the_notes_have_the_commits_between(
    who: Caller, inventory: Inventory, repository: Repository
) -> None:
    project = inventory.environment.project
    project.repository = str(repository.path)
    project.save()
    first = repository.commit("First", {"manage.py": ""})
    second = repository.commit("Second *bold* <b>", {"a": ""})
    who.post("plans", {"environment": "shop/production", "ref": second})  # fetches
    deployment = came(inventory, first, second)
    told = who.get(f"deployments/{deployment.pk}/notes").json()
    assert (told["before"], told["after"]) == (first, second)
    assert [each["subject"] for each in told["commits"]] == ["Second *bold* <b>"]
    assert "<b>" not in told["markdown"]


def came(inventory: Inventory, before: str, after: str) -> Deployment:
    lock = LockFile.objects.of("a" * 64, "django==5.2\n")
    release = Release.objects.make(inventory.environment, before, "First", lock)
    deployment = write_deployment(inventory.environment, state=State.SUCCEEDED, commit=after)
    HostRun.objects.filter(deployment=deployment).update(release_before=release)
    return deployment
