"""After a rollback of some servers: what else is done there goes on from what was true then."""

import pytest

from deploy_manager.deployments.choices import choose_release, converge, retry
from deploy_manager.deployments.request import DeploymentOptions, request
from deploy_manager.deployments.run import run
from deploy_manager.models import Environment, Release, State, Step, UpgradeState
from tests.overrides import HeldSite
from tests.parts.matrices import few
from tests.releases import Switching
from tests.returns import OLD, go_on, requested
from tests.test_servers_that_leave import set_up

pytestmark = pytest.mark.django_db(transaction=True)


def roll_back_one(held: HeldSite, release: Release | None) -> None:
    assert release is not None
    back = held.see_through(held.request("rollback", release=release, servers=["one"]))
    assert back.state == State.SUCCEEDED, back.message


def test_a_retry_migrates_again_what_the_rollback_has_reversed(held: HeldSite) -> None:
    held.inventory.add_server("two")
    Environment.objects.update(max_failures="1")
    held.environment.refresh_from_db()
    first = held.deploy().release
    held.pin(*OLD)
    (held.inventory.folder / "two/full").touch()
    tried = held.deploy()
    assert tried.state == State.PARTLY_FAILED, tried.message
    assert "migrate" in retry(tried)[1].without
    roll_back_one(held, first)
    (held.inventory.folder / "two/full").unlink()
    name, options = retry(tried)
    again = held.request(name, **vars(options))
    assert Step.objects.filter(host_run__deployment=again, recipe="migrate").exists()


@pytest.mark.parametrize("first_pins", few(("helper==1.0",), (("helper==1.0", "shopkit==1.1"),)))
def test_a_converge_to_the_older_release_ends_no_override(
    held: HeldSite, first_pins: tuple[str, ...]
) -> None:
    """The repository of that time did not list the package, or pinned a higher version."""
    held.inventory.add_server("two")
    held.pin(*first_pins)
    first = held.deploy().release
    held.pin(*OLD)
    held.deploy()
    assert go_on(requested(held.environment)).state == UpgradeState.SUCCEEDED
    roll_back_one(held, first)
    held.see_through(held.request("converge", **vars(converge(held.environment, ["two"]))))
    assert held.live() == {"shopkit": "1.0.2"}


def test_one_server_never_goes_back_to_what_failed_there(three_old: Switching) -> None:
    """`two` has a hotfix of its own; the next release came to all, and failed on `two` alone."""
    three_old.switch_to("mid")
    environment = three_old.inventory.environment
    options = DeploymentOptions(release=three_old.make_release("hotfix"), servers=["two"])
    run(
        request(
            environment, "switch", source="manage.py", requested_by_name="ana", options=options
        ).pk
    )
    set_up(three_old, max_failures="1", rollback_on_failure=True)
    three_old.break_server("two")
    three_old.switch_to("new")
    three_old.mend_server("two")
    assert [three_old.current(name) for name in ("one", "two")] == ["new", "hotfix"]
    assert choose_release(environment, servers=["two"]).name == "mid"
