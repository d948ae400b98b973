"""Pins as rows of an environment, and back."""

from dataclasses import replace

import pytest
from django.db import IntegrityError

from deploy_manager.exceptions import PinError
from deploy_manager.models import Environment
from deploy_manager.requirements import Pin
from deploy_manager.runner.pins import pins_of, replace_pins
from deploy_manager.runner.source import find_source
from tests.inventory import make_inventory
from tests.parts.repository import Repository

HASH = "sha256:" + "a" * 64
DJANGO = Pin("django", "5.2.8", ("argon2",), 'os_name != "nt"', (HASH,))
ASGIREF = Pin("asgiref", "3.8.1", hashes=(HASH,), direct=False)


@pytest.fixture
def environment(repository: Repository, db: None) -> Environment:
    repository.commit("Site", {"manage.py": "", "requirements.txt": "sqlparse==0.5.3\n"})
    return make_inventory(repository.path.parent, str(repository.path)).environment


def test_rows_stand_for_the_pins_they_were_made_of(environment: Environment) -> None:
    replace_pins(environment, [DJANGO, ASGIREF])
    assert pins_of(environment) == (ASGIREF, DJANGO)


def test_new_pins_take_the_place_of_all_old_ones(environment: Environment) -> None:
    replace_pins(environment, [DJANGO, ASGIREF])
    replace_pins(environment, [replace(DJANGO, version="5.2.9")])
    assert [pin.requirement for pin in pins_of(environment)] == [
        'django[argon2]==5.2.9 ; os_name != "nt"'
    ]


@pytest.mark.django_db(transaction=True)
def test_old_pins_stay_where_new_ones_are_refused(environment: Environment) -> None:
    replace_pins(environment, [DJANGO])
    with pytest.raises(IntegrityError):
        replace_pins(environment, [ASGIREF, ASGIREF])
    assert pins_of(environment) == (DJANGO,)


def test_a_deployment_takes_its_pins_from_the_commit(environment: Environment) -> None:
    replace_pins(environment, [DJANGO])
    assert [pin.name for pin in find_source(environment, "main").pins] == ["sqlparse"]


def test_or_from_the_rows_where_the_environment_says_so(environment: Environment) -> None:
    environment.pins_from = Environment.PinsFrom.ROWS
    with pytest.raises(PinError, match=r"has no requirements: run manage.py import_requirements"):
        find_source(environment, "main")
    replace_pins(environment, [DJANGO, ASGIREF])
    assert [pin.name for pin in find_source(environment, "main").pins] == ["asgiref", "django"]


@pytest.mark.parametrize(
    "fields",
    [
        {"version": "5\n--index-url=https://evil.test"},
        {"name": "django @ file:///srv/evil"},
        {"version": ">=5"},
        {"hashes": ["sha256:0 --no-deps"]},
        {"hashes": []},
    ],
)
def test_rows_written_by_hand_are_looked_at_like_a_file(
    environment: Environment, fields: dict[str, object]
) -> None:
    environment.pins_from = Environment.PinsFrom.ROWS
    replace_pins(environment, [DJANGO, ASGIREF])
    environment.requirements.filter(name="django").update(**fields)
    with pytest.raises(PinError, match="shop/production's list of requirements"):
        find_source(environment, "main")
