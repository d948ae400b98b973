"""What was decided when a deployment was asked for is carried out by whatever code runs later."""

from collections.abc import Callable
from dataclasses import replace

import pytest

from deploy_manager.deployments.choices import retry
from deploy_manager.deployments.request import request
from deploy_manager.deployments.run import run
from deploy_manager.models import Deployment, Environment, HostRun, State, Step
from deploy_manager.recipes import (
    Host,
    Phase,
    Pipeline,
    Scope,
    Site,
    Uses,
    add_pipeline,
    recipe,
    registry,
)
from tests.inventory import Inventory
from tests.parts.matrices import few
from tests.releases import PIPELINE, THREE, Switching, put_pipeline

pytestmark = pytest.mark.django_db(transaction=True)


@pytest.fixture
def three(three_old: Switching) -> Switching:
    """Three servers that serve the release `old`, and go one after the other."""
    Environment.objects.update(
        strategy=Environment.Strategy.WAVES, batch="1", rollback_on_failure=True
    )
    three_old.inventory.environment.refresh_from_db()
    return three_old


def no_gates() -> None:
    """Phases have other names and titles, none is a gate, and none is run in waves."""
    pipeline = registry.get_pipeline(PIPELINE)
    phases = (
        Phase(f"new_{phase.name}", f"New {phase.title}", phase.recipes) for phase in pipeline.phases
    )
    put_pipeline(replace(pipeline, phases=tuple(phases)))


def no_pipeline() -> None:
    del registry._pipelines[PIPELINE]


def tolerance() -> None:
    """The environment tolerates any failure from now on."""
    Environment.objects.update(max_failures="100%", rollback_on_failure=False, pause=3600)


CHANGES = pytest.mark.parametrize("change", few(no_gates, no_pipeline, tolerance))


def carry_out(deployment: Deployment) -> Deployment:
    run(deployment.pk)
    deployment.refresh_from_db()
    return deployment


def currents(switching: Switching) -> list[str]:
    return [switching.current(name) for name in THREE]


def told(deployment: Deployment) -> dict[str, tuple[str, str]]:
    runs = deployment.host_runs.order_by("pk")
    return {each.server_name: (each.state, each.message) for each in runs}


@CHANGES
def test_a_gate_that_was_asked_for_holds(three: Switching, change: Callable[[], None]) -> None:
    three.break_server("three", "prepare")
    deployment = three.request("new")
    change()
    assert carry_out(deployment).state == State.FAILED
    assert currents(three) == ["old"] * 3
    why = "Stopped, since Prepare failed on three: 0 of 3 may fail."
    assert told(deployment)["one"] == (State.SKIPPED, why)


@CHANGES
def test_waves_and_the_rollback_are_those_that_were_asked_for(
    three: Switching, change: Callable[[], None]
) -> None:
    three.break_server("two")
    deployment = three.request("new")
    change()
    carry_out(deployment)
    assert currents(three) == ["old"] * 3
    states = [state for state, _message in told(deployment).values()]
    assert states == [State.ROLLED_BACK, State.ROLLED_BACK, State.SKIPPED]
    assert deployment.release is not None
    deployment.release.refresh_from_db()
    assert deployment.release.bad_reason.startswith("Stopped, since Verify failed on two")


@CHANGES
def test_failures_that_were_to_be_borne_are_borne(
    three: Switching, change: Callable[[], None]
) -> None:
    environment = three.inventory.environment
    Environment.objects.update(max_failures="1", rollback_on_failure=False)
    environment.refresh_from_db()
    three.break_server("one", "prepare")
    deployment = three.request("new")
    change()
    Environment.objects.update(max_failures="0", rollback_on_failure=True)
    assert carry_out(deployment).state == State.PARTLY_FAILED
    assert currents(three) == ["old", "new", "new"]


def forget(name: str, while_running: str) -> None:
    """Let another version of the code go on, which has no such recipe."""
    entry = registry._recipes[while_running]

    def function(host: Host, site: Site) -> None:
        registry._recipes.pop(name, None)
        entry.function(host, site)

    registry._recipes[while_running] = replace(entry, function=function)


def test_a_recipe_that_is_gone_between_two_stages_fails_with_its_name_and_all_go_back(
    three: Switching,
) -> None:
    deployment = three.request("new")
    forget("prove_it", "make_it")
    carry_out(deployment)
    state, message = told(deployment)["one"]
    assert state == State.ROLLED_BACK
    assert message.startswith("Prove it: There is no recipe 'prove_it'")
    assert [told(deployment)[name][0] for name in THREE[1:]] == [State.SKIPPED] * 2
    assert currents(three) == ["old"] * 3


def test_a_recipe_that_is_gone_where_it_is_needed_to_go_back_leaves_the_truth(
    three: Switching,
) -> None:
    three.break_server("one")
    deployment = three.request("new")
    forget("reload", "prove_it")
    assert carry_out(deployment).state == State.FAILED
    assert told(deployment)["one"][0] == State.FAILED
    back = Step.objects.get(
        host_run__deployment=deployment, host_run__wave=1, phase="roll_back", recipe="reload"
    )
    assert (back.state, back.message[:27]) == (State.FAILED, "There is no recipe 'reload'")
    assert currents(three) == ["old"] * 3


def test_nothing_is_begun_by_code_that_lacks_a_recipe_of_it(three: Switching) -> None:
    deployment = three.request("new")
    del registry._recipes["tidy_up"]
    assert carry_out(deployment).state == State.FAILED
    assert deployment.message.startswith("There is no recipe 'tidy_up'")
    assert deployment.message.endswith("No server was touched.")
    assert currents(three) == ["old"] * 3


def test_recipes_that_are_renamed_keep_the_titles_that_were_shown(three: Switching) -> None:
    deployment = three.request("new")
    for name, entry in registry._recipes.items():
        registry._recipes[name] = replace(entry, title="Something else", scope=Scope.ONCE)
    assert carry_out(deployment).state == State.SUCCEEDED
    titles = set(Step.objects.values_list("title", flat=True))
    assert "Something else" not in titles
    assert currents(three) == ["new"] * 3


@pytest.fixture
def migrating(inventory: Inventory, own_recipes: None) -> Inventory:
    """A pipeline whose second phase runs once, and whose third fails on the server `two`."""
    recipe("Move the tables", scope=Scope.ONCE, name="move_tables")(lambda host, site: None)
    phases = (
        Phase("greet", "Greet", ("greet",), gate=True),
        Phase("migrate", "Migrate", ("move_tables",), gate=True),
        Phase("third", "Third", ("fail_on_the_second",)),
    )
    add_pipeline(Pipeline("grow", "Grow", phases))
    inventory.add_server("two")
    return inventory


@pytest.mark.parametrize("name", few("migrate", "tables"))
def test_what_ran_once_is_not_run_again_whatever_its_phase_is_called_now(
    migrating: Inventory, name: str
) -> None:
    failed = carry_out(migrating.request("grow"))
    pipeline = registry.get_pipeline("grow")
    phases = [replace(each, name=f"{name}_{each.name}") for each in pipeline.phases]
    put_pipeline(replace(pipeline, phases=tuple(phases)))
    for _again in range(2):
        recipe_name, options = retry(failed)
        failed = request(
            migrating.environment,
            recipe_name,
            source="fab",
            requested_by_name="me",
            options=options,
        )
        carry_out(failed)
        taken = Step.objects.filter(host_run__deployment=failed).values_list("recipe", flat=True)
        assert list(taken) == ["greet", "fail_on_the_second"]


def test_what_ran_once_and_failed_is_run_again(migrating: Inventory) -> None:
    failed = migrating.request("grow")
    forget("move_tables", "greet")
    carry_out(failed)
    assert failed.message == (
        "one: Move the tables: There is no recipe 'move_tables'."
        f" Known: {', '.join(sorted(registry._recipes))}."
    )
    second = told(failed)["two"]
    assert second == (State.SKIPPED, "Stopped, since Migrate failed on one.")
    assert retry(failed)[1].without == frozenset()


def fail_to_activate(switching: Switching, server: str) -> None:
    """Let `current` be no link: nothing can be renamed over it."""
    link = switching.folder(server) / "current"
    link.unlink(missing_ok=True)
    (link / "in the way").mkdir(parents=True)


def test_the_reason_names_the_phase_of_the_step_that_failed(three: Switching) -> None:
    fail_to_activate(three, "two")
    deployment = three.switch_to("new")
    why = "Stopped, since Activate failed on two: 0 of 3 may fail."
    assert told(deployment)["three"] == (State.SKIPPED, why)
    assert deployment.release is not None
    deployment.release.refresh_from_db()
    assert deployment.release.bad_reason == why


def test_each_phase_that_failed_in_a_wave_is_named_with_its_servers(three: Switching) -> None:
    three.inventory.add_server("four")
    Environment.objects.update(canary="", batch="3", rollback_on_failure=False)
    three.inventory.environment.refresh_from_db()
    fail_to_activate(three, "three")
    three.break_server("one")
    three.break_server("two")
    deployment = three.switch_to("new")
    assert HostRun.objects.get(deployment=deployment, server_name="four").message == (
        "Stopped, since Activate failed on three and Verify failed on one, two: 0 of 4 may fail."
    )


def test_rows_hold_the_values_that_recipes_have(inventory: Inventory) -> None:
    choices = Deployment._meta.get_field("uses").choices or ()
    assert [str(value) for value, _label in choices] == [each.value for each in Uses]
