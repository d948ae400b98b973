"""The page that goes back to an earlier release, and the one that makes servers like the others."""

from typing import Any

import pytest

from deploy_manager.models import Deployment, HostRun, Placement, Release
from deploy_manager.models.requirements import LockFile
from deploy_manager.recipes import all_pipelines
from tests.inventory import Inventory
from tests.parts.admin import url, visitor
from tests.parts.admin_run import confirmed, make_served_shop, run_page
from tests.releases import activate

Releases = list[Release]


@pytest.fixture
def shop(tmp_path: Any, db: None) -> Inventory:
    return make_served_shop(tmp_path)


@pytest.fixture
def releases(shop: Inventory) -> Releases:
    """Three releases, oldest first, whole on both servers; the newest serves."""
    oldest = Release.objects.get()
    lock = LockFile.objects.get()
    later = [
        Release.objects.make(shop.environment, letter * 40, f"Subject {letter}", lock)
        for letter in "bc"
    ]
    made = [oldest, *later]
    names = [release.name for release in made]
    for release in made:
        activate(shop, release)
    Placement.objects.update(complete_releases=names, active_release=made[-1])
    return made


def rows_of(page: str) -> str:
    return page.split("Release to go back to")[1].split("</table>")[0]


def roll_back(inventory: Inventory, **changes: str | list[str]) -> Deployment:
    visitor("deployer").post(run_page(inventory, "rollback"), confirmed(inventory, "", **changes))
    return Deployment.objects.get(recipe="rollback")


def test_the_releases_are_offered_newest_first_and_the_good_one_before_is_chosen(
    shop: Inventory, releases: Releases
) -> None:
    page = visitor("deployer").get(run_page(shop, "rollback")).content.decode()
    rows = rows_of(page)
    assert rows.index(releases[1].name) < rows.index(releases[0].name)
    assert releases[2].name not in rows
    assert f'value="{releases[1].name}" checked' in rows
    assert 'name="_confirm"' in page
    assert "Reverse migrations" in page


def test_a_bad_one_is_marked_with_the_reason_and_not_chosen(
    shop: Inventory, releases: Releases
) -> None:
    releases[1].mark_bad("The basket is <b>empty</b>.")
    rows = rows_of(visitor("deployer").get(run_page(shop, "rollback")).content.decode())
    assert "bad</span>" in rows
    assert "The basket is &lt;b&gt;empty&lt;/b&gt;." in rows
    assert f'value="{releases[0].name}" checked' in rows


def test_one_that_never_served_is_offered_with_that_beside_it_and_not_chosen(
    shop: Inventory, releases: Releases
) -> None:
    HostRun.objects.filter(deployment__release=releases[1]).delete()
    rows = rows_of(visitor("deployer").get(run_page(shop, "rollback")).content.decode())
    unproven, served = rows.split(releases[1].name)[0], rows.split(f"<code>{releases[1].name}")[1]
    assert "never served, as far as is known" in rows
    assert "never served" not in served
    assert "checked" not in unproven
    assert f'value="{releases[0].name}" checked' in rows


def test_confirming_asks_for_the_release_that_was_chosen(
    shop: Inventory, releases: Releases
) -> None:
    deployment = roll_back(
        shop, release=releases[0].name, forced_migrations="shop.0002_sum\nshop.0003_tax"
    )
    assert (deployment.recipe, deployment.release) == ("rollback", releases[0])
    assert (deployment.commit, deployment.ref) == (releases[0].commit, "")
    assert deployment.forced_migrations == ["shop.0002_sum", "shop.0003_tax"]


@pytest.mark.parametrize(
    "change",
    [
        {"release": "elsewhere"},
        {"release": ""},
        {"forced_migrations": "shop.0002; id"},
        {"forced_migrations": "--fake"},
    ],
)
def test_what_no_page_would_send_is_reported_and_not_run(
    shop: Inventory, releases: Releases, change: dict[str, str | list[str]]
) -> None:
    sent = confirmed(shop, "", **{"release": releases[0].name, **change})
    page = visitor("deployer").post(run_page(shop, "rollback"), sent).content.decode()
    assert "This would fail" in page
    assert not Deployment.objects.filter(recipe="rollback").exists()


def test_where_there_is_nothing_to_go_back_to_it_says_so(shop: Inventory) -> None:
    page = visitor("deployer").get(run_page(shop, "rollback")).content.decode()
    assert "has no good release before this one" in page
    assert 'name="_confirm"' not in page


def test_other_servers_have_other_releases_and_the_good_one_before_is_chosen(
    shop: Inventory, releases: Releases
) -> None:
    shop.add_server("three")
    Placement.objects.filter(server__name="three").update(
        complete_releases=[releases[2].name], active_release=releases[2]
    )
    deployer = visitor("deployer")
    page = deployer.get(run_page(shop, "rollback")).content.decode()
    assert "No other release is complete on every chosen server." in page
    assert "--server one --server two" in page

    sent = confirmed(shop, shown_servers="one,two,three")
    page = deployer.post(run_page(shop, "rollback"), sent).content.decode()
    assert "This would fail" not in page
    assert f'value="{releases[1].name}" checked' in rows_of(page)
    assert not Deployment.objects.filter(recipe="rollback").exists()

    deployer.post(run_page(shop, "rollback"), confirmed(shop, release=releases[1].name))
    assert Deployment.objects.get(recipe="rollback").release == releases[1]


def test_a_release_that_a_further_server_lacks_is_refused(
    shop: Inventory, releases: Releases
) -> None:
    shop.add_server("three")
    sent = confirmed(shop, release=releases[1].name, servers=["one", "two", "three"])
    page = visitor("deployer").post(run_page(shop, "rollback"), sent).content.decode()
    assert f"Release {releases[1].name} is not complete on every chosen server" in page
    assert not Deployment.objects.filter(recipe="rollback").exists()


def test_each_is_compared_with_what_is_live(shop: Inventory, releases: Releases) -> None:
    live = releases[2]
    Release.objects.filter(pk=releases[1].pk).update(commit=live.commit)
    deployer = visitor("deployer")
    page = deployer.get(run_page(shop, "rollback")).content.decode()
    rows = rows_of(page)
    assert "same commit and pins as now" in rows
    assert f'value="{releases[0].name}" checked' in rows
    other = "django==5.2.8\n"
    lock = LockFile.objects.of("b" * 64, other)
    Release.objects.filter(pk=releases[1].pk).update(lock=lock)
    rows = rows_of(deployer.get(run_page(shop, "rollback")).content.decode())
    assert "same commit as now, pins differ: no asgiref instead of 3.8.1" in rows


@pytest.mark.parametrize("pipeline", [pipeline.name for pipeline in all_pipelines()])
def test_each_pipelines_page_opens(shop: Inventory, releases: Releases, pipeline: str) -> None:
    assert visitor("deployer").get(run_page(shop, pipeline), follow=True).status_code == 200


@pytest.fixture
def out_of_sync(shop: Inventory) -> Inventory:
    """A third server, new, that serves nothing yet."""
    shop.add_server("three")
    return shop


def test_out_of_sync_servers_are_chosen_to_become_like_the_others(out_of_sync: Inventory) -> None:
    served = Release.objects.get()
    page = visitor("deployer").get(run_page(out_of_sync, "converge")).content.decode()
    assert 'value="three" data-replans checked' in page
    assert 'value="one" data-replans checked' not in page
    assert f'shown_release" value="{served.name}"' in page
    sent = confirmed(
        out_of_sync, servers=["three"], shown_servers="three", shown_release=served.name
    )
    visitor("owner").post(run_page(out_of_sync, "converge"), sent)
    deployment = Deployment.objects.get()
    assert (deployment.release, deployment.recipe) == (served, "converge")
    assert [run.server_name for run in deployment.host_runs.all()] == ["three"]


def test_another_release_than_the_one_shown_is_not_sent(out_of_sync: Inventory) -> None:
    sent = confirmed(out_of_sync, servers=["three"], shown_servers="three", shown_release="old")
    page = visitor("owner").post(run_page(out_of_sync, "converge"), sent).content.decode()
    assert "changed since it was shown" in page
    assert not Deployment.objects.exists()


def test_where_all_serve_the_same_nothing_is_chosen(shop: Inventory) -> None:
    page = visitor("deployer").get(run_page(shop, "converge")).content.decode()
    assert "All servers serve the same release" in page
    assert 'name="_confirm"' not in page


def test_servers_lead_to_the_page_with_themselves_chosen(out_of_sync: Inventory) -> None:
    owner = visitor("owner")
    servers = [each.server for each in out_of_sync.environment.placements.all()]
    data = {"action": "make_alike", "_selected_action": [servers[0].pk]}
    answer = owner.post(url("server_changelist"), data)
    assert answer["Location"] == url(
        "environment_run", "converge", on=out_of_sync.environment.pk, server="one"
    )
    page = owner.get(answer["Location"]).content.decode()
    assert 'value="one" data-replans checked' in page
    assert 'value="three" data-replans checked' not in page


def test_who_may_not_deploy_makes_no_server_alike(out_of_sync: Inventory) -> None:
    viewer = visitor("viewer")
    assert "Make it like" not in viewer.get(url("server_changelist")).content.decode()
    assert viewer.get(run_page(out_of_sync, "converge")).status_code == 403


def test_servers_that_are_not_there_choose_none(out_of_sync: Inventory) -> None:
    page = visitor("deployer").get(run_page(out_of_sync, "ping") + "&server=nine").content.decode()
    assert page.count("data-replans checked") == 3
