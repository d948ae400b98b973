"""A row that no form would have let through costs its own sense, not the page it stands on."""

from collections.abc import Iterator

import pytest
from django.apps import apps
from django.contrib import admin
from django.urls import NoReverseMatch, get_resolver, reverse

from deploy_manager.admin.addresses import run_url
from deploy_manager.models import Environment
from tests.parts.admin import visitor
from tests.parts.hostile import FEW_HOSTILE, Hostile, make_rows

pytestmark = pytest.mark.django_db


@pytest.fixture
def environment(db: None) -> Environment:
    return make_rows()


def addresses() -> Iterator[str]:
    """Every page of ours in the admin, with the keys of rows that are there."""
    names = get_resolver().namespace_dict["admin"][1].reverse_dict
    for name in sorted(key for key in names if str(key).startswith("deploy_manager_")):
        model = str(name).split("_")[2]
        row = apps.get_model("deploy_manager", model)._default_manager.first()
        key = row.pk if row else 1
        for args in ([], [key], [key, key], ["deploy"]):
            try:
                yield reverse(f"admin:{name}", args=args)
                break
            except NoReverseMatch:
                continue


def test_every_table_has_a_row_that_can_be_spoilt(environment: Environment) -> None:
    empty = [
        model.__name__ for model in admin.site._registry if not model._default_manager.exists()
    ]
    assert set(empty) <= {"Group", "Permission", "User"}


@pytest.mark.parametrize("hostile", FEW_HOSTILE)
def test_no_page_fails_by_what_stands_in_a_row(environment: Environment, hostile: Hostile) -> None:
    hostile.spoil()
    client = visitor("owner")
    client.raise_request_exception = False
    chosen = {"environment": environment.pk, "on": environment.pk}
    asking = [run_url(recipe, [environment.pk]) for recipe in ("deploy", "rollback", "converge")]
    failed = [
        f"{address}: {vars(answer)['exc_info'][1]!r}"
        for address in [*addresses(), *asking]
        # A list that has no such filters leads to itself without them.
        if (answer := client.get(address, {} if address in asking else chosen, follow=True))
        and answer.status_code == 500
    ]
    assert not failed
