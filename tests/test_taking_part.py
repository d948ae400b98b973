"""A project's own recipes take part in pipelines: which, where in them, and on which servers."""

import pytest
from django.core.management import call_command
from django.core.management.base import SystemCheckError

from deploy_manager.deployments.choices import retry
from deploy_manager.deployments.pipelines import pipeline_for
from deploy_manager.deployments.request import DeploymentOptions, request
from deploy_manager.deployments.run import run
from deploy_manager.models import ROLLBACK_PHASE, Deployment, Environment, State, Step
from deploy_manager.recipes import (
    Host,
    Phase,
    Pipeline,
    Scope,
    Site,
    Uses,
    add_pipeline,
    get_pipeline,
    recipe,
    registry,
)
from tests.inventory import Inventory
from tests.parts.matrices import few
from tests.releases import PIPELINE, Switching

pytestmark = pytest.mark.usefixtures("own_recipes")

MAKING = ("deploy", "upgrade", "converge")


def nothing(host: Host, site: Site) -> None: ...


def names(name: str, environment: Environment | None = None) -> list[str]:
    return [each.name for each in pipeline_for(environment or Environment(), name).recipes]


@pytest.mark.parametrize("name", MAKING)
def test_a_recipe_stands_where_it_says_in_all_that_makes_a_release(name: str) -> None:
    before = names(name)
    recipe(name="fonts", phase="prepare", before="collect_static")(nothing)
    recipe(name="bundle", phase="prepare", before="collect_static")(nothing)
    recipe(name="index", phase="prepare", after="collect_static")(nothing)
    recipe(name="compress", phase="prepare", after="collect_static")(nothing)
    recipe(name="last", phase="prepare")(nothing)

    found = names(name)

    middle = found.index("collect_static")
    assert found[middle - 2 : middle + 3] == [
        "fonts",
        "bundle",
        "collect_static",
        "index",
        "compress",
    ]
    assert found[found.index("check") + 1] == "last"
    added = {"fonts", "bundle", "index", "compress", "last"}
    assert [each for each in found if each not in added] == before


def test_one_may_stand_beside_another_of_the_project_s() -> None:
    recipe(name="bundle", phase="prepare", before="collect_static")(nothing)
    recipe(name="sign", phase="prepare", after="bundle")(nothing)
    found = names("deploy")
    assert found[found.index("bundle") :][:3] == ["bundle", "sign", "collect_static"]


def test_a_rollback_prepares_nothing_and_does_what_belongs_to_the_switch() -> None:
    for name, phase in (
        ("bundle", "prepare"),
        ("load", "migrate"),
        ("restart", "activate"),
        ("purge", "verify"),
        ("tell", "clean_up"),
    ):
        recipe(name=name, phase=phase)(nothing)
    assert names("rollback") == [
        "check_release",
        "reverse_migrations",
        "activate",
        "reload",
        "restart",
        "verify",
        "purge",
    ]
    assert {"bundle", "load", "restart", "purge", "tell"} <= set(names("deploy"))
    assert "load" not in names("converge")


def test_it_is_asked_for_where_the_environment_s_option_is_set() -> None:
    recipe(name="index", phase="prepare", option="compile_messages")(nothing)
    assert "index" not in names("deploy")
    assert "index" in names("deploy", Environment(compile_messages=True))


@pytest.mark.parametrize("migrate", few("after", "before", "never"))
def test_the_place_of_migrations_is_still_the_environment_s(migrate: str) -> None:
    recipe(name="load", phase="migrate", after="migrate")(nothing)
    found = names("deploy", Environment(migrate=migrate))
    assert ("load" in found) == (migrate != "never")
    if migrate == "after":
        assert found.index("verify") < found.index("load")


def test_it_takes_part_in_the_project_s_own_pipelines_and_once_only() -> None:
    recipe(name="bundle", phase="prepare", before="collect_static")(nothing)
    prepare = Phase("prepare", "Prepare", ("checkout_latest", "make_virtualenv"), gate=True)
    add_pipeline(Pipeline("fetch", "Fetch", (prepare,)))
    # Without the recipe that it stands beside, it comes last.
    assert names("fetch") == ["checkout_latest", "make_virtualenv", "bundle"]
    named = Phase("prepare", "Prepare", ("checkout_latest", "bundle", "check"), gate=True)
    add_pipeline(Pipeline("again", "Again", (named,)))
    assert names("again") == ["checkout_latest", "bundle", "check"]


def test_what_takes_part_does_not_choose_the_release() -> None:
    proof = Phase("verify", "Verify", ("verify",), in_waves=True)
    add_pipeline(Pipeline("prove", "Prove", (proof,)))
    recipe(name="purge", phase="verify", uses=Uses.NEWEST)(nothing)
    assert names("prove") == ["verify", "purge"]
    assert get_pipeline("prove").uses is Uses.CURRENT


@pytest.mark.parametrize(
    ("place", "why"),
    few(
        ({"phase": "bild"}, r"names the phase 'bild', which no pipeline has: .*prepare"),
        (
            {"phase": "prepare", "after": "npm"},
            r"beside 'npm', which is not in the phase prepare: .*collect_static",
        ),
        ({"phase": "prepare", "before": "activate"}, r"not in the phase prepare"),
        ({"after": "collect_static"}, r"but no phase: add phase="),
        (
            {"phase": "prepare", "after": "check", "before": "check"},
            r"after one recipe or before one, not both",
        ),
        ({"phase": "prepare", "uses": Uses.NEW}, r"it works on their release"),
    ),
)
def test_a_place_that_does_not_exist(place: dict[str, object], why: str) -> None:
    with pytest.raises(ValueError, match=rf"'own' .*{why}"):
        recipe(name="own", **place)(nothing)  # type: ignore[arg-type]
    assert "own" not in registry._recipes


def test_a_pipeline_that_would_replace_another() -> None:
    phases = (Phase("prepare", "Prepare", ("greet",)),)
    for name in ("deploy", "rollback", "collect_static"):
        with pytest.raises(ValueError, match=rf"'{name}' already exists.*@recipe\(phase"):
            add_pipeline(Pipeline(name, "Mine", phases))
    assert names("deploy")[0] == "checkout_latest"
    add_pipeline(Pipeline("mine", "Mine", phases))
    add_pipeline(Pipeline("mine", "Mine", phases))  # imported once more
    with pytest.raises(ValueError, match="'mine' already exists"):
        add_pipeline(Pipeline("mine", "Another", phases))


def test_a_pipeline_s_name_that_nobody_can_type() -> None:
    with pytest.raises(ValueError, match="'My pipeline' is not a valid name"):
        add_pipeline(Pipeline("My pipeline", "Mine", (Phase("run", "Run", ("greet",)),)))


def test_a_phase_whose_steps_would_never_run_or_run_in_two_places() -> None:
    assert registry.RESERVED_PHASE == ROLLBACK_PHASE
    for phases, why in (
        ((ROLLBACK_PHASE,), "which the automatic rollback has"),
        (("run", "run"), "has two phases 'run'"),
        (("Warm up",), "'Warm up' is not a valid name of a phase"),
    ):
        made = tuple(Phase(name, "Run", ("greet",)) for name in phases)
        with pytest.raises(ValueError, match=why):
            add_pipeline(Pipeline("mine", "Mine", made))


def test_a_recipe_of_a_built_in_name() -> None:
    for name in ("deploy", "collect_static"):
        with pytest.raises(ValueError, match=f"'{name}' already exists"):
            recipe(name=name)(nothing)


def test_manage_py_check_tells(db: None, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(ValueError, match="no pipeline has") as raised:
        recipe(name="own", phase="bild")(nothing)
    monkeypatch.setitem(registry._broken, "shop.recipes", f"ValueError: {raised.value}")
    with pytest.raises(SystemCheckError, match=r"shop\.recipes can't be imported.*'bild'"):
        call_command("check", "--tag", "deploy_manager")


def carry_out(deployment: Deployment) -> Deployment:
    run(deployment.pk)
    deployment.refresh_from_db()
    return deployment


def recipes_run(deployment: Deployment, server: str) -> list[str]:
    steps = Step.objects.filter(host_run__deployment=deployment, host_run__server_name=server)
    return list(steps.filter(state=State.SUCCEEDED).values_list("recipe", flat=True))


@pytest.mark.django_db(transaction=True)
def test_it_runs_on_its_servers_and_goes_back_with_them(switching: Switching) -> None:
    switching.inventory.add_server("two", roles=("app", "worker"))
    Environment.objects.update(rollback_on_failure=True)
    switching.inventory.environment.refresh_from_db()

    @recipe("Restart the workers", phase="activate", after="activate", roles=["worker"])
    def restart(host: Host, site: Site) -> None:
        host.run(f"cd {site.deploy_path} && readlink current >>restarted")

    assert switching.switch_to("old").state == State.SUCCEEDED
    switching.break_server("two")

    assert switching.switch_to("new").state == State.ROLLED_BACK

    assert [switching.current(name) for name in ("one", "two")] == ["old", "old"]
    restarted = (switching.folder("two") / "restarted").read_text().split()
    assert restarted == ["releases/old", "releases/new", "releases/old"]
    assert not (switching.folder("one") / "restarted").exists()


@pytest.mark.django_db(transaction=True)
def test_what_is_registered_later_is_not_in_what_was_requested(switching: Switching) -> None:
    deployment = switching.request("new")
    recipe("Restart", name="restart", phase="activate")(nothing)
    assert carry_out(deployment).state == State.SUCCEEDED
    assert "restart" not in recipes_run(deployment, "one")
    assert "restart" in recipes_run(switching.switch_to("newer"), "one")


@pytest.mark.django_db(transaction=True)
def test_what_ran_once_is_not_run_again_by_a_retry_unless_it_was_taken_back(
    switching: Switching,
) -> None:
    recipe("Purge", name="purge", phase="activate", scope=Scope.ONCE)(nothing)
    switching.inventory.add_server("two")
    switching.switch_to("old")
    switching.break_server("two")
    failed = switching.switch_to("new")
    assert recipes_run(failed, "one").count("purge") == 1
    _recipe, options = retry(failed)
    assert "purge" in options.without

    Environment.objects.update(rollback_on_failure=True)
    switching.inventory.environment.refresh_from_db()
    failed = switching.switch_to("newer")
    assert recipes_run(failed, "one").count("purge") == 2
    failed.release.bad_since = None  # type: ignore[union-attr]
    failed.release.save()  # type: ignore[union-attr]
    _recipe, options = retry(Deployment.objects.get(pk=failed.pk))
    assert "purge" not in options.without


@pytest.mark.django_db
def test_where_it_would_run_stands_on_the_rows(inventory: Inventory) -> None:
    inventory.add_server("two", roles=("worker",))
    recipe("Bundle", name="bundle", phase="prepare", before="collect_static", roles=["worker"])(
        nothing
    )
    recipe("Load", name="load", phase="prepare", scope=Scope.ONCE)(nothing)
    release = Switching(inventory).make_release("known")
    for name in ("deploy", "converge"):
        deployment = request(
            inventory.environment,
            name,
            source="manage.py",
            requested_by_name="me@here",
            options=DeploymentOptions(release=release if name == "converge" else None),
        )
        steps = Step.objects.filter(host_run__deployment=deployment)
        where = {
            each: set(steps.filter(recipe=each).values_list("host_run__server_name", "phase"))
            for each in ("bundle", "load")
        }
        assert where == {"bundle": {("two", "prepare")}, "load": {("one", "prepare")}}
        deployment.end(State.CANCELLED)


def test_the_switching_pipeline_is_a_project_s_own(switching: Switching) -> None:
    """Which is why what takes part in deployments takes part there, too."""
    recipe("Restart", name="restart", phase="activate", after="activate")(nothing)
    assert names(PIPELINE) == ["make_it", "activate", "restart", "prove_it", "tidy_up"]
