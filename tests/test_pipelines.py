"""The pipelines that come with the app: their phases, and the release each of them works on."""

import pytest

from deploy_manager.deployments.pipelines import pipeline_for
from deploy_manager.exceptions import RequestRefused
from deploy_manager.models import Environment, Project
from deploy_manager.recipes import (
    Phase,
    Pipeline,
    Scope,
    Uses,
    add_pipeline,
    deploy_pipeline,
    get_pipeline,
    get_recipe,
    recipe,
)


def names(pipeline: Pipeline) -> list[str]:
    return [phase.name for phase in pipeline.phases]


@pytest.mark.parametrize(
    ("migrate", "phases"),
    [
        ("before", ["prepare", "migrate", "activate", "verify", "clean_up"]),
        ("after", ["prepare", "activate", "verify", "migrate", "clean_up"]),
        ("never", ["prepare", "activate", "verify", "clean_up"]),
    ],
)
def test_a_deployment_migrates_when_the_environment_says(migrate: str, phases: list[str]) -> None:
    assert names(deploy_pipeline(migrate)) == phases
    gates = {phase.name for phase in deploy_pipeline(migrate).phases if phase.gate}
    assert gates == {"prepare", "migrate"} & set(phases)


def test_a_pipeline_of_which_nothing_is_switched_on_is_refused(own_recipes: None) -> None:
    for name in ("first", "second"):
        recipe(name=name, option="compile_messages")(lambda host, site: None)
    add_pipeline(Pipeline("both", "Both", (Phase("run", "Run", ("first", "second")),)))
    on = pipeline_for(Environment(compile_messages=True), "both")
    assert [each.name for each in on.recipes] == ["first", "second"]
    with pytest.raises(RequestRefused, match=r"Nothing of both is switched on.*compile_messages"):
        pipeline_for(Environment(), "both")


def test_an_option_that_no_environment_has_is_refused(own_recipes: None) -> None:
    recipe(name="first", option="no_such_field")(lambda host, site: None)
    add_pipeline(Pipeline("both", "Both", (Phase("run", "Run", ("first", "greet")),)))
    for name in ("both", "first"):
        with pytest.raises(RequestRefused, match="has no field 'no_such_field'"):
            pipeline_for(Environment(project=Project(name="shop"), name="test"), name)


def test_a_pipeline_without_recipes_is_none() -> None:
    with pytest.raises(ValueError, match="'empty' has no recipes"):
        add_pipeline(Pipeline("empty", "Empty", (Phase("run", "Run", ()),)))


def test_deploy_migrates_before_unless_told() -> None:
    assert get_pipeline("deploy") == deploy_pipeline("before")


@pytest.mark.parametrize("name", ["deploy", "upgrade", "converge"])
def test_translations_are_compiled_before_anything_is_activated_if_so_set(name: str) -> None:
    environment = Environment(compile_messages=True)

    recipes = [recipe.name for recipe in pipeline_for(environment, name).recipes]

    after = recipes.index("collect_static") + 1
    assert recipes.pop(after) == "compile_messages"
    assert after < recipes.index("activate")
    assert recipes == [recipe.name for recipe in pipeline_for(Environment(), name).recipes]


@pytest.mark.parametrize("name", ["deploy", "upgrade", "converge"])
def test_whatever_makes_a_release_runs_the_smoke_command_before_it_may_serve(name: str) -> None:
    with_it = pipeline_for(Environment(smoke_command="true"), name)
    recipes = [recipe.name for recipe in with_it.recipes]
    assert recipes.index("check") < recipes.index("smoke") < recipes.index("activate")
    assert "smoke" not in [each.name for each in pipeline_for(Environment(), name).recipes]


@pytest.mark.parametrize("name", ["rollback", "collect_static", "compile_messages"])
def test_where_no_code_is_installed_no_step_is_added(name: str) -> None:
    assert pipeline_for(Environment(compile_messages=True), name) == get_pipeline(name)


@pytest.mark.parametrize("name", ["deploy", "rollback", "converge"])
def test_only_what_changes_or_proves_what_serves_is_run_in_waves(name: str) -> None:
    in_waves = [phase.name for phase in get_pipeline(name).phases if phase.in_waves]
    assert in_waves == ["activate", "verify"]


def test_a_rollback_installs_and_cleans_up_nothing() -> None:
    pipeline = get_pipeline("rollback")
    assert [recipe.name for recipe in pipeline.recipes] == [
        "check_release",
        "reverse_migrations",
        "activate",
        "reload",
        "verify",
    ]
    assert {phase.name for phase in pipeline.phases if phase.gate} == {"prepare", "migrate"}


def test_to_converge_is_to_prepare_what_others_serve_and_never_to_migrate() -> None:
    pipeline = get_pipeline("converge")
    assert names(pipeline) == ["preflight", "prepare", "activate", "verify", "clean_up"]
    assert {phase.name for phase in pipeline.phases if phase.gate} == {"preflight", "prepare"}


@pytest.mark.parametrize(
    ("name", "uses"),
    [
        ("deploy", Uses.NEW),
        ("rollback", Uses.GIVEN),
        ("converge", Uses.GIVEN),
        ("show_migrations", Uses.NEWEST),
        ("preflight", Uses.CURRENT),
    ],
)
def test_a_pipeline_knows_which_release_it_works_on(name: str, uses: Uses) -> None:
    assert get_pipeline(name).uses is uses


def test_a_pipeline_takes_a_given_release_where_it_says_so() -> None:
    phases = (Phase("prepare", "Prepare", ("checkout_latest",)),)
    assert Pipeline("again", "Again", phases).uses is Uses.NEW
    assert Pipeline("again", "Again", phases, given=True).uses is Uses.GIVEN


@pytest.mark.parametrize("name", ["migrate", "show_migrations", "reverse_migrations"])
def test_the_database_is_one_server_s_affair(name: str) -> None:
    assert get_recipe(name).scope is Scope.ONCE
