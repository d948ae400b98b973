"""Pins as rows of an environment, and back."""

from dataclasses import replace

import pytest
from django.db import IntegrityError

from deploy_manager.deployments.contents import find_contents
from deploy_manager.exceptions import PinError
from deploy_manager.models import Environment
from deploy_manager.packages.pins import pins_of, replace_pins
from deploy_manager.requirements.pins import Pin
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
    assert [pin.name for pin in find_contents(environment, "main").pins] == ["sqlparse"]


def test_from_all_the_files_that_the_commit_s_own_includes(
    environment: Environment, repository: Repository
) -> None:
    files = {"requirements.txt": "-r deep/base.txt\n", "deep/base.txt": "-c ../c.txt\nsqlparse\n"}
    repository.commit("Files", {**files, "c.txt": "sqlparse==0.5.1\n"})
    assert [pin.requirement for pin in find_contents(environment, "main").pins] == [
        "sqlparse==0.5.1"
    ]
    repository.commit("Outside", {"c.txt": "-r ../../c.txt\n-r none.txt\n"})
    with pytest.raises(PinError, match=r"c\.txt, line 1: .* of the folder; c\.txt, line 2: "):
        find_contents(environment, "main")


def test_from_a_lock_of_another_tool(environment: Environment, repository: Repository) -> None:
    environment.project.requirements_file = "locks/pylock.toml"
    with pytest.raises(PinError, match=r"has no locks/pylock\.toml: set the project's"):
        find_contents(environment, "main")
    text = pylock_of("sqlparse", "0.5.3")
    repository.commit("LockFile", {"locks/pylock.toml": text})
    pins = find_contents(environment, "main").pins
    assert [(pin.requirement, pin.hashes) for pin in pins] == [("sqlparse==0.5.3", (HASH,))]


def pylock_of(name: str, version: str) -> str:
    wheel = f"{name}-{version}-py3-none-any.whl"
    return (
        'lock-version = "1.0"\ncreated-by = "people"\n[[packages]]\n'
        f'name = "{name}"\nversion = "{version}"\n'
        f'wheels = [{{url = "https://host.test/{wheel}", hashes = {{sha256 = "{HASH[7:]}"}}}}]\n'
    )


def test_or_from_the_rows_where_the_environment_says_so(environment: Environment) -> None:
    environment.pins_from = Environment.PinsFrom.ROWS
    with pytest.raises(PinError, match=r"has no requirements: run manage.py import_requirements"):
        find_contents(environment, "main")
    replace_pins(environment, [DJANGO, ASGIREF])
    assert [pin.name for pin in find_contents(environment, "main").pins] == ["asgiref", "django"]


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
        find_contents(environment, "main")
