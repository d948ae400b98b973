"""The page where a deployment is watched: state, progress by cursor, log, cancel."""

import pytest

from deploy_manager.models import Deployment, LogChunk, State, Step
from tests.inventory import Inventory
from tests.parts.admin import url, visitor, write_deployment, write_output


@pytest.fixture
def deployment(inventory: Inventory) -> Deployment:
    inventory.add_server("two")
    return write_deployment(inventory.environment, titles=("Fetch", "Build"))


def steps_on(deployment: Deployment, server: str) -> list[Step]:
    return list(Step.objects.filter(host_run__server_name=server).order_by("number"))


def test_the_page_shows_all_without_a_script(deployment: Deployment) -> None:
    write_output(steps_on(deployment, "one")[0], b"hello from one\n")
    page = visitor("viewer").get(url("deployment_change", deployment.pk)).content.decode()
    for piece in ("one", "two", "Fetch", "Build", "running", "hello from one", "me"):
        assert piece in page
    assert f'data-cursor="{1}"' in page


def test_the_page_needs_no_inline_script_or_style(deployment: Deployment) -> None:
    page = visitor("owner").get(url("deployment_change", deployment.pk)).content.decode()
    ours = page.split('id="content-main"')[1]
    assert "<script" not in ours.split("</main>")[0]
    assert "style=" not in ours
    assert "onclick" not in ours


def test_progress_begins_at_the_start_and_goes_on_at_the_cursor(deployment: Deployment) -> None:
    first, second = steps_on(deployment, "one")
    write_output(first, b"a\n")
    viewer = visitor("viewer")
    address = url("deployment_progress", deployment.pk)
    news = viewer.get(address).json()
    assert [chunk["html"] for chunk in news["chunks"]] == ["a\n"]
    assert (news["live"], news["more"], len(news["hosts"])) == (True, False, 2)
    write_output(second, b"b\nc\n", LogChunk.Stream.STDERR)
    news = viewer.get(address, {"after": news["cursor"]}).json()
    chunk = news["chunks"][0]
    assert (chunk["html"], chunk["lines"], chunk["stream"]) == ("b\nc\n", 3, "stderr")
    assert (chunk["step"], chunk["host"], chunk["title"]) == (
        second.pk,
        second.host_run_id,
        "2. Build",
    )
    assert viewer.get(address, {"after": news["cursor"]}).json()["chunks"] == []


def test_more_than_fits_into_one_answer_is_asked_for_again(deployment: Deployment) -> None:
    step = steps_on(deployment, "one")[0]
    for letter in (b"a", b"b", b"c", b"d", b"e", b"f"):
        write_output(step, letter * 60_000 + b"\n")
    viewer, cursor, seen, more = visitor("viewer"), -1, "", True
    while more:
        news = viewer.get(url("deployment_progress", deployment.pk, after=cursor)).json()
        seen += "".join(chunk["html"] for chunk in news["chunks"])
        cursor, more = news["cursor"], news["more"]
    assert [seen.count(letter) for letter in "abcdef"] == [60_000] * 6


def test_a_cursor_that_is_no_number_is_refused_in_words(deployment: Deployment) -> None:
    answer = visitor("viewer").get(url("deployment_progress", deployment.pk, after="x"))
    assert answer.status_code == 400
    assert "number" in answer.json()["error"]


def test_a_deployment_that_is_not_there_is_not_found(deployment: Deployment) -> None:
    viewer = visitor("viewer")
    assert viewer.get(url("deployment_progress", 999)).status_code == 404
    assert viewer.get(url("deployment_change", 999)).status_code == 404
    assert viewer.get(url("deployment_log", deployment.pk, host=999)).status_code == 404
    assert viewer.get(url("deployment_log", deployment.pk, host="x")).status_code == 404


@pytest.mark.parametrize("number", [2**63, 10**30])
def test_numbers_larger_than_any_are_no_error_of_ours(deployment: Deployment, number: int) -> None:
    viewer = visitor("deployer")
    assert viewer.get(url("deployment_change", number)).status_code == 404
    assert viewer.get(url("deployment_log", deployment.pk, host=number)).status_code == 404
    news = viewer.get(url("deployment_progress", deployment.pk, after=number))
    assert news.json()["chunks"] == []
    assert viewer.get(url("environment_run", "ping", on=number)).status_code == 404


def test_progress_says_when_it_ended(inventory: Inventory) -> None:
    ended = write_deployment(inventory.environment, state=State.FAILED, message="It broke.")
    news = visitor("viewer").get(url("deployment_progress", ended.pk)).json()
    assert news["live"] is False
    assert news["deployment"]["state"] == "failed"
    assert news["deployment"]["message"] == "It broke."
    assert news["deployment"]["started"] is None


def test_a_queued_deployment_says_that_nobody_took_it_and_why(inventory: Inventory) -> None:
    queued = write_deployment(
        inventory.environment, state=State.QUEUED, message="No worker could be woken: refused"
    )
    page = visitor("viewer").get(url("deployment_change", queued.pk)).content.decode()
    assert "no worker has taken it yet" in page
    assert "No worker could be woken: refused" in page


def test_the_page_ends_with_the_last_output_and_says_that_it_left_some_out(
    deployment: Deployment,
) -> None:
    step = steps_on(deployment, "one")[0]
    for number in range(12):
        write_output(step, b"%02d" % number + b"x" * 60_000 + b"\n")
    write_output(steps_on(deployment, "two")[0], b"short\n")
    context = visitor("viewer").get(url("deployment_change", deployment.pk)).context
    one, two = context["tails"]
    assert one.cut
    assert one.blocks[-1].html.startswith("11")
    assert sum(len(block.html) for block in one.blocks) < 400_000
    assert not two.cut
    assert [block.html for block in two.blocks] == ["short\n"]


def test_a_servers_log_downloads_exactly(deployment: Deployment) -> None:
    wild = bytes(range(256)) + b"\r\n\x1b[31mred\x1b[0m"
    step = steps_on(deployment, "one")[0]
    write_output(step, wild)
    write_output(steps_on(deployment, "two")[0], b"two\n")
    write_output(step, b"end")
    answer = visitor("viewer").get(url("deployment_log", deployment.pk, host=step.host_run_id))
    assert answer.getvalue() == wild + b"end"
    assert answer["Content-Type"].startswith("text/plain")
    assert answer["X-Content-Type-Options"] == "nosniff"
    assert answer["Content-Disposition"] == (
        f'attachment; filename="deployment-{deployment.pk}-one.log"'
    )


def test_the_whole_log_shows_the_servers_apart(deployment: Deployment) -> None:
    write_output(steps_on(deployment, "two")[0], b"2\n")
    write_output(steps_on(deployment, "one")[0], b"1\n")
    answer = visitor("viewer").get(url("deployment_log", deployment.pk))
    assert answer.getvalue() == b"==> one <==\n1\n==> two <==\n2\n"


def test_cancelling_a_queued_deployment_ends_it_and_is_noted(inventory: Inventory) -> None:
    queued = write_deployment(inventory.environment, state=State.QUEUED)
    deployer = visitor("deployer")
    assert (
        "Cancel this deployment"
        in deployer.get(url("deployment_change", queued.pk)).content.decode()
    )
    answer = deployer.post(url("deployment_cancel", queued.pk), follow=True)
    queued.refresh_from_db()
    assert (queued.state, queued.cancel_requested_by_name) == (State.CANCELLED, "deployer")
    assert "Cancel this deployment" not in answer.content.decode()
    history = deployer.get(url("deployment_history", queued.pk)).content.decode()
    assert "Cancellation requested." in history


def test_cancelling_what_ended_changes_nothing(inventory: Inventory) -> None:
    ended = write_deployment(inventory.environment, state=State.SUCCEEDED)
    answer = visitor("deployer").post(url("deployment_cancel", ended.pk), follow=True)
    assert "It had already ended." in answer.content.decode()
    ended.refresh_from_db()
    assert ended.state == State.SUCCEEDED
    assert ended.cancel_requested_at is None


def test_servers_with_fewer_steps_keep_the_columns_in_line(deployment: Deployment) -> None:
    first, _ = steps_on(deployment, "two")
    first.delete()
    matrix = visitor("viewer").get(url("deployment_change", deployment.pk)).context["matrix"]
    assert [phase.columns for phase in matrix.phases] == [("Fetch", "Build")]
    assert [[cell.step and cell.step.title for cell in row.cells] for row in matrix.rows] == [
        ["Fetch", "Build"],
        [None, "Build"],
    ]
