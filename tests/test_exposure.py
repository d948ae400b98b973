"""Who is exposed to an advisory, who runs what, and what nobody knows."""

from collections.abc import Callable

import pytest
from django.db import connection
from django.test.utils import CaptureQueriesContext
from django.utils import timezone

from deploy_manager.exceptions import PinError
from deploy_manager.models import (
    Advisory,
    AuditedVersion,
    Environment,
    InstalledPackage,
    Placement,
    Requirement,
)
from deploy_manager.packages.exposure import (
    exposures,
    lowest_fix,
    unknown_versions,
    unseen,
    vulnerable_packages,
    who_runs,
)
from deploy_manager.packages.targets import NOT_DEPLOYED
from tests.inventory import Inventory

pytestmark = [pytest.mark.database, pytest.mark.django_db]


def install(placement: Placement, **packages: str) -> None:
    for name, version in packages.items():
        InstalledPackage.objects.create(placement=placement, name=name, version=version)
    Placement.objects.filter(pk=placement.pk).update(inventory_at=timezone.now())


def pin(environment: Environment, name: str, version: str) -> None:
    Requirement.objects.create(environment=environment, name=name, version=version)


def tell(identifier: str, *versions: str, fixed_in: tuple[str, ...] = ("5.2.8",)) -> Advisory:
    """Write an advisory about versions of django."""
    advisory = Advisory.objects.create(
        identifier=identifier, package="django", fixed_in=list(fixed_in)
    )
    for version in versions:
        audited = AuditedVersion.objects.get_or_create(name="django", version=version)[0]
        audited.advisories.add(advisory)
    return advisory


def check(name: str, version: str, problem: str = "") -> None:
    AuditedVersion.objects.update_or_create(
        name=name, version=version, defaults={"checked_at": timezone.now(), "problem": problem}
    )


@pytest.fixture
def four(inventory: Inventory) -> list[Placement]:
    """`shop/production` on four servers."""
    others = [inventory.add_server(name) for name in ("two", "three", "four")]
    return [inventory.environment.placements.get(server__name="one"), *others]


def test_an_advisory_leads_to_servers_and_pins(four: list[Placement]) -> None:
    for placement, version in zip(four, ("5.2.7", "5.2.7", "5.1.0", "5.2.8"), strict=True):
        install(placement, django=version, rich="14.0")
    pin(four[0].environment, "django", "5.2.7")
    advisory = tell("CVE-1", "5.2.7", "5.1.0", fixed_in=("5.1.14", "5.2.8"))
    older, newer = exposures(advisory)
    assert (older.version, older.placements, older.pinned) == ("5.1.0", (four[2],), False)
    assert (newer.version, newer.placements, newer.pinned) == ("5.2.7", tuple(four[:2]), True)
    assert (older.fixed_in, newer.fixed_in) == ("5.1.14", "5.2.8")
    assert newer.environment == four[0].environment


def test_what_is_only_pinned_is_exposed_too(four: list[Placement]) -> None:
    pin(four[0].environment, "django", "5.2.7")
    (found,) = exposures(tell("CVE-1", "5.2.7"))
    assert (found.pinned, found.installed, found.placements) == (True, False, ())


def test_several_advisories_about_a_version_are_reported_together(four: list[Placement]) -> None:
    install(four[0], django="5.2.7")
    first = tell("CVE-1", "5.2.7", fixed_in=("5.2.8",))
    second = tell("CVE-2", "5.2.7", fixed_in=("5.2.9",))
    (found,) = vulnerable_packages(four[0].environment)
    assert set(found.advisories) == {first, second}
    assert found.fixed_in == "5.2.9"
    (only,) = exposures(first)
    assert (only.advisories, only.fixed_in) == ((first,), "5.2.8")


def test_another_environment_is_not_told_of(four: list[Placement]) -> None:
    install(four[0], django="5.2.7")
    tell("CVE-1", "5.2.7")
    project = four[0].environment.project
    other = Environment.objects.create(project=project, name="other", deploy_path="/srv/other")
    assert vulnerable_packages(other) == []
    assert len(vulnerable_packages()) == 1


@pytest.mark.parametrize(
    ("version", "fixed_in", "fix"),
    [
        ("5.2.7", [["4.2.26", "5.1.14", "5.2.8"]], "5.2.8"),
        ("5.0.1", [["4.2.26", "5.1.14", "5.2.8"]], "5.1.14"),
        ("5.2.7", [["5.2.8"], []], ""),
        ("5.2.7", [[]], ""),
        ("5.2.7", [["5.2.10"], ["5.2.9"]], "5.2.10"),
        ("no version", [["5.2.8"]], "5.2.8"),
    ],
)
def test_the_lowest_version_that_mends_it_all(
    version: str, fixed_in: list[list[str]], fix: str
) -> None:
    assert lowest_fix(version, [Advisory(fixed_in=each) for each in fixed_in]) == fix


def test_what_was_not_checked_is_unknown(four: list[Placement]) -> None:
    install(four[0], django="5.2.7", rich="14.0", celery="5.5.0")
    check("rich", "14.0")
    check("celery", "5.5.0", "It did not answer.")
    found = {each.name: each.problem for each in unknown_versions(four[0].environment)}
    assert found == {"django": "", "celery": "It did not answer."}


def test_a_server_that_did_not_answer_is_not_known(four: list[Placement]) -> None:
    install(four[0], django="5.2.7")
    install(four[1], django="5.2.7")
    Placement.objects.filter(pk=four[1].pk).update(inventory_problem="It is down.")
    Placement.objects.filter(pk=four[3].pk).update(inventory_problem=NOT_DEPLOYED)
    assert list(unseen([four[0].environment])) == [four[1], four[2]]


@pytest.mark.parametrize(
    ("asked", "servers"),
    [
        ("django<5.2.8", ["one", "two"]),
        ("Django >= 5.2, < 6", ["two", "three"]),
        ("django", ["one", "two", "three", "four"]),
        ("django==6.0a1", []),
        ("rich<1", []),
    ],
)
def test_who_runs_a_version(four: list[Placement], asked: str, servers: list[str]) -> None:
    for placement, version in zip(four, ("5.1", "5.2.7", "5.2.8", "0.96-odd"), strict=True):
        install(placement, django=version)
    told = who_runs(asked, [four[0].environment])
    assert [each.placement.server.name for each in told.found] == servers
    odd = [each.version for each in told.unordered]
    assert odd == (["0.96-odd"] if asked not in ("django", "rich<1") else [])


def test_a_pre_release_counts_as_a_version(four: list[Placement]) -> None:
    install(four[0], django="6.0a1")
    told = who_runs("django>=5.2", [four[0].environment])
    assert [each.version for each in told.found] == ["6.0a1"]
    assert list(told.unseen) == four[1:]


@pytest.mark.parametrize(
    "asked", ["", "<5", "django<", "django<five", "-r x", "django[argon2]", "django; os_name=='nt'"]
)
def test_what_is_no_name_with_versions_is_refused(asked: str, inventory: Inventory) -> None:
    with pytest.raises(PinError, match=r"like django<5\.2\.8"):
        who_runs(asked, [inventory.environment])


@pytest.mark.parametrize(
    "question",
    [
        lambda environment: exposures(Advisory.objects.get()),
        vulnerable_packages,
        unknown_versions,
        lambda environment: who_runs("django<6", [environment]),
    ],
)
def test_many_servers_take_no_more_queries(
    inventory: Inventory, question: Callable[[Environment], object]
) -> None:
    tell("CVE-1", "5.2.7")
    install(inventory.environment.placements.get(), django="5.2.7", rich="14.0")
    counted = []
    for number in range(2):
        with CaptureQueriesContext(
            connection,
        ) as queries:
            str(question(inventory.environment))
        counted.append(len(queries))
        for name in (f"a{number}", f"b{number}", f"c{number}"):
            install(inventory.add_server(name), django="5.2.7", rich="14.0")
    assert counted[0] == counted[1]
