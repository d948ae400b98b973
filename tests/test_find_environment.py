"""Which environment a command line means."""

import pytest
from django.core.management import CommandError

from deploy_manager.cli.inventory.environments import find_environment
from deploy_manager.models import Environment, Project

pytestmark = pytest.mark.django_db


def add(project: str, name: str) -> Environment:
    owner, _ = Project.objects.get_or_create(name=project, repository=f"/srv/{project}.git")
    return Environment.objects.create(project=owner, name=name, deploy_path=f"/srv/{project}")


def test_a_name_is_enough_where_one_project_has_it() -> None:
    wanted = add("shop", "production")
    add("shop", "staging")
    assert find_environment("production") == wanted


def test_the_project_may_be_said_in_two_ways() -> None:
    add("shop", "production")
    wanted = add("blog", "production")
    assert find_environment("production", "blog") == wanted
    assert find_environment("blog/production") == wanted


def test_an_ambiguous_name_asks_for_the_project() -> None:
    add("shop", "production")
    add("blog", "production")
    with pytest.raises(CommandError, match="add --project, one of blog, shop"):
        find_environment("production")


def test_an_unknown_name_shows_what_there_is() -> None:
    add("shop", "production")
    with pytest.raises(CommandError, match=r"no environment 'prod'\. Environments: shop/prod"):
        find_environment("prod")


def test_where_nothing_is_there_yet_it_says_so() -> None:
    with pytest.raises(CommandError, match="none yet; add one in the admin"):
        find_environment("production")
