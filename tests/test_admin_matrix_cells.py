"""The matrix of servers and packages: what each cell says, in a word and not by a colour alone."""

import pytest

from deploy_manager.models import Environment, Placement
from tests.parts.admin import visitor
from tests.parts.packages import (
    Seen,
    advise,
    audit,
    cells_of,
    index,
    look,
    make_environment,
    pin,
    place,
    see,
)

pytestmark = pytest.mark.django_db


def cells(name: str) -> list[Seen]:
    """The cells of a package's row, as the owner sees them."""
    return cells_of(look(visitor("owner")), name)


@pytest.fixture
def production(db: None) -> Environment:
    return make_environment("production", "one")


@pytest.fixture
def one(production: Environment) -> Placement:
    return place(production, "one")


def test_as_pinned(production: Environment, one: Placement) -> None:
    pin(production, "django==5.2.8")
    see(one, "django==5.2.8")
    audit("django==5.2.8")
    assert cells("django") == [Seen("pinned", "As pinned.", "5.2.8", "as pinned")]


@pytest.mark.parametrize("installed", ["1.0", "1.0.0", "1.0+local.1"])
def test_a_version_spelt_otherwise_is_as_pinned(
    production: Environment, one: Placement, installed: str
) -> None:
    pin(production, "a==1.0")
    see(one, f"a=={installed}")
    audit(f"a=={installed}")
    assert cells("a")[0].kind == "pinned"


def test_another_version_than_pinned(production: Environment, one: Placement) -> None:
    pin(production, "django==5.2.8")
    see(one, "django==5.2.1")
    audit("django==5.2.1")
    [cell] = cells("django")
    assert (cell.kind, cell.version, cell.words) == ("other", "5.2.1", "not as pinned")
    assert "5.2.8 is pinned." in cell.title


def test_missing(production: Environment, one: Placement) -> None:
    pin(production, "django==5.2.8")
    see(one)
    [cell] = cells("django")
    assert (cell.kind, cell.words) == ("missing", "missing")


def test_installed_though_nobody_pinned_it(production: Environment, one: Placement) -> None:
    pin(production, "django==5.2.8")
    see(one, "django==5.2.8", "ipdb==0.13", "pip==25.0")
    audit("ipdb==0.13", "pip==25.0")
    page = look(visitor("owner"))
    assert cells_of(page, "ipdb")[0].words == "not pinned"
    assert cells_of(page, "pip")[0].words == "installed"


def test_vulnerable_and_not_as_pinned_at_once(production: Environment, one: Placement) -> None:
    pin(production, "django==5.2.8")
    see(one, "django==5.2.1")
    advise("GHSA-1", "django", "5.2.1")
    advise("GHSA-2", "django", "5.2.1")
    [cell] = cells("django")
    assert (cell.kind, cell.words) == ("vulnerable", "vulnerable, not as pinned")
    assert "Vulnerable: GHSA-1, GHSA-2." in cell.title


def test_a_newer_one_is_there(production: Environment, one: Placement) -> None:
    pin(production, "django==5.2.9")
    see(one, "django==5.2.9")
    audit("django==5.2.9")
    index("django==5.2.10")
    [cell] = cells("django")
    assert (cell.kind, cell.words) == ("behind", "newer available")
    assert "5.2.10 is available." in cell.title


@pytest.mark.parametrize("problem", ["", "No answer within 10 s."])
def test_never_said_to_be_safe_where_nobody_looked(
    production: Environment, one: Placement, problem: str
) -> None:
    pin(production, "django==5.2.8")
    see(one, "django==5.2.8")
    if problem:
        audit("django==5.2.8", problem=problem)
    [cell] = cells("django")
    assert (cell.kind, cell.words) == ("unaudited", "not audited")
    assert "not known whether it is vulnerable" in cell.title


def test_a_server_that_was_never_asked(production: Environment, one: Placement) -> None:
    pin(production, "django==5.2.8")
    [cell] = cells("django")
    assert (cell.kind, cell.version, cell.words) == ("unknown", "–", "unknown")  # noqa: RUF001


def test_a_server_that_stopped_to_answer(production: Environment, one: Placement) -> None:
    pin(production, "django==5.2.8", "a==1")
    see(one, "django==5.2.8", "a==0")
    one.inventory_problem = "The server can't be reached."
    one.save()
    audit("django==5.2.8", "a==0")
    page = look(visitor("owner"))
    assert cells_of(page, "django")[0].kind == cells_of(page, "a")[0].kind == "unknown"


def test_vulnerable_still_where_the_server_stopped_to_answer(
    production: Environment, one: Placement
) -> None:
    see(one, "django==5.2.1")
    one.inventory_problem = "The server can't be reached."
    one.save()
    advise("GHSA-1", "django", "5.2.1")
    assert cells("django")[0].words == "vulnerable, unknown"


@pytest.mark.parametrize(("python", "kinds"), [("3.12.4", []), ("3.10.2", ["missing"]), ("", [])])
def test_a_pin_for_another_python_is_not_missed(
    production: Environment, one: Placement, python: str, kinds: list[str]
) -> None:
    pin(production, 'tomli==2.0 ; python_version < "3.11"')
    see(one, python=python)
    assert [cell.kind for cell in cells("tomli")] == kinds


def test_what_is_no_version_is_compared_as_text(production: Environment, one: Placement) -> None:
    pin(production, "a==1.0")
    see(one, "a==unknown-build")
    index("a==2.0")
    assert cells("a")[0].kind == "other"
