"""Searching a deployment's log: which lines are found, and how much is read and shown."""

import pytest
from django.db import connection
from django.test.utils import CaptureQueriesContext

from deploy_manager.deployments.log_search import MOST_OF_A_LINE, SHOWN_BYTES, search_log
from deploy_manager.models import Deployment, LogChunk, Step
from tests.inventory import Inventory
from tests.parts.admin import url, visitor, write_deployment, write_output

pytestmark = pytest.mark.django_db


@pytest.fixture
def deployment(inventory: Inventory) -> Deployment:
    inventory.add_server("two")
    return write_deployment(inventory.environment, titles=("Fetch", "Build"))


def step_on(deployment: Deployment, server: str) -> Step:
    found = Step.objects.filter(host_run__server_name=server).order_by("number").first()
    assert found is not None
    return found


def found_in(deployment: Deployment, text: str, **options: int) -> list[tuple[str, int, bytes]]:
    lines, _more = search_log(deployment, text, **options)
    return [(line.run.server_name, line.number, line.data) for line in lines]


@pytest.mark.database
def test_lines_are_found_on_all_servers_with_their_numbers(deployment: Deployment) -> None:
    write_output(step_on(deployment, "one"), b"a\nan Error\n")
    write_output(step_on(deployment, "two"), b"b\n", LogChunk.Stream.STDERR)
    write_output(step_on(deployment, "one"), b"\xc3\xa9\nerror again\nend")
    write_output(step_on(deployment, "two"), b"c\nno ERROR")
    assert found_in(deployment, "error") == [
        ("one", 2, b"an Error"),
        ("one", 4, b"error again"),
        ("two", 3, b"no ERROR"),
    ]
    two = step_on(deployment, "two").host_run_id
    assert found_in(deployment, "Error", run_id=two) == [("two", 3, b"no ERROR")]
    assert found_in(deployment, "é") == [("one", 3, "é".encode())]
    assert found_in(deployment, "nothing") == found_in(deployment, "") == []


def test_a_text_that_two_chunks_share_is_found_once(deployment: Deployment) -> None:
    write_output(step_on(deployment, "one"), b"first\nneed")
    write_output(step_on(deployment, "one"), b"le and a needle\nlast\n")
    assert found_in(deployment, "needle") == [("one", 2, b"needle and a needle")]


def test_a_line_of_any_length_is_found_once_and_shown_in_part(deployment: Deployment) -> None:
    step = step_on(deployment, "one")
    write_output(step, b"first\n" + b"x" * MOST_OF_A_LINE + b"needle")
    write_output(step, b"y" * MOST_OF_A_LINE)
    write_output(step, b"y" * MOST_OF_A_LINE + b"needle\nneedle\n")
    found = found_in(deployment, "needle")
    assert [number for _server, number, _data in found] == [2, 3]
    assert b"needle" in found[0][2]
    assert len(found[0][2]) < SHOWN_BYTES + 10


def test_more_than_is_shown_is_told(deployment: Deployment) -> None:
    write_output(step_on(deployment, "one"), b"same\n" * 5)
    assert search_log(deployment, "same", most=5).more is False
    few = search_log(deployment, "same", most=4)
    assert (len(few.lines), few.more) == (4, True)


def test_the_page_shows_lines_escaped_and_keeps_what_was_asked(deployment: Deployment) -> None:
    write_output(step_on(deployment, "one"), b"1\n<b>bold</b> \x1b[31mred\x1b[0m\n")
    page = visitor("owner").get(url("deployment_search", deployment.pk, q="<b>")).content.decode()
    assert "&lt;b&gt;bold&lt;/b&gt;" in page
    assert "<b>bold" not in page
    assert 'value="&lt;b&gt;"' in page
    assert "1 line with it." in page


def test_the_page_asks_for_a_server_of_the_deployment_only(deployment: Deployment) -> None:
    owner = visitor("owner")
    for host in ("0", "x", "99999999999"):
        address = url("deployment_search", deployment.pk, q="a", host=host)
        assert owner.get(address).status_code == 404
    run = step_on(deployment, "one").host_run_id
    assert owner.get(url("deployment_search", deployment.pk, host=run)).status_code == 200


def test_a_search_asks_the_database_once_for_each_server(deployment: Deployment) -> None:
    step = step_on(deployment, "one")

    def queries() -> int:
        with CaptureQueriesContext(connection) as asked:
            search_log(deployment, "nothing")
        return len(asked)

    before = queries()
    for _ in range(50):
        write_output(step, b"line\n" * 100)
    assert queries() == before == 1 + deployment.host_runs.count()
