"""A deployment on a terminal: what servers print can colour it and do nothing else to it."""

import io
import re
import time
from datetime import timedelta

import pytest
from django.utils import timezone
from rich.console import Console

from deploy_manager.cli.console import make_console
from deploy_manager.cli.deployments.following import Follower, Interrupts
from deploy_manager.cli.deployments.waves import Course
from deploy_manager.cli.text import clean, clean_line
from deploy_manager.cli.views.base import View
from deploy_manager.cli.views.terminal import LiveTable, choose_rows, make_view
from deploy_manager.models import Deployment, HostRun, LogChunk, State, Step
from tests.inventory import Inventory
from tests.releases import Switching

ESC = "\x1b"


def shown_on_a_terminal(line: str) -> str:
    """What rich really writes to a terminal for one cleaned line."""
    console = Console(file=io.StringIO(), force_terminal=True, color_system="truecolor", width=200)
    with console.capture() as capture:
        console.print(clean_line(line), soft_wrap=True)
    return capture.get()


def test_colours_of_a_server_are_kept() -> None:
    assert shown_on_a_terminal(f"{ESC}[31mred{ESC}[0m plain") == f"{ESC}[31mred{ESC}[0m plain\n"


@pytest.mark.parametrize(
    "hostile",
    [
        f"{ESC}]0;a title\x07",
        f"{ESC}]8;;https://example.org{ESC}\\a link{ESC}]8;;{ESC}\\",
        f"{ESC}{ESC}]x\x07]8;;https://example.org{ESC}\\",
        f"{ESC}[2J{ESC}[H",
        f"{ESC}[?1049h",
        f"{ESC}P1$r{ESC}\\",
        f"{ESC}c",
        "\x9b2J",
        "\x07\x08\x0e\x7f",
        f"{ESC}[",
        ESC,
        f"{ESC}[" + "1" * 5000 + "m",
        f"{ESC}[:;" + "1" * 5000 + "m",
        "\N{RIGHT-TO-LEFT OVERRIDE}",
    ],
    ids=repr,
)
def test_nothing_but_colours_reaches_the_terminal(hostile: str) -> None:
    printed = shown_on_a_terminal(f"before{hostile}after")
    assert "before" in printed
    without_colours = re.sub(r"\x1b\[[0-9;]*m", "", printed)
    assert not re.search(r"[\x00-\x08\x0b-\x1f\x7f-\x9f\u202a-\u202e]", without_colours)


def test_an_unfinished_control_string_in_a_long_line_takes_no_time() -> None:
    began = time.monotonic()
    clean_line(f"{ESC}]" * 30_000)
    assert time.monotonic() - began < 2


def test_a_line_written_over_is_shown_as_it_was_last() -> None:
    assert clean(" 10 %\r100 %\r\ndone") == "100 %\ndone"


def add_output(deployment: Deployment, server: str, data: bytes) -> None:
    step = Step.objects.get(host_run__deployment=deployment, host_run__server_name=server)
    Deployment.objects.filter(pk=deployment.pk).update(sequence=deployment.sequence + 1)
    deployment.refresh_from_db()
    LogChunk.objects.create(
        deployment=deployment,
        host_run=step.host_run,
        step=step,
        sequence=deployment.sequence,
        stream=1,
        data=data,
    )


def watch(deployment: Deployment, view: View) -> None:
    Follower(deployment.pk, view, lambda now: True, Interrupts()).follow()


@pytest.mark.django_db
def test_bytes_that_are_no_text_are_shown_as_replaced(inventory: Inventory) -> None:
    deployment = inventory.request("ping")
    add_output(deployment, "one", b"caf\xe9\nna\xc3\xafve\n")
    deployment.request_cancel("me")
    out = io.StringIO()
    watch(deployment, make_view(make_console(out)))
    assert "[one] caf\N{REPLACEMENT CHARACTER}\n[one] naïve\n" in out.getvalue()
    assert ESC not in out.getvalue()
    assert "cancelled" in out.getvalue()


@pytest.mark.django_db
def test_a_terminal_shows_a_table_and_a_colour_for_each_server(
    inventory: Inventory, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TERM", "xterm")
    inventory.add_server("two")
    deployment = inventory.request("ping")
    add_output(deployment, "one", b"a line\n")
    add_output(deployment, "two", b"another\n")
    deployment.request_cancel("me")
    console = Console(file=io.StringIO(), force_terminal=True, color_system="standard", width=90)
    view = make_view(console)
    assert isinstance(view, LiveTable)
    with console.capture() as capture:
        watch(deployment, view)
    printed = capture.get()
    assert f"{ESC}[36m[one] {ESC}[0ma line" in printed
    assert f"{ESC}[35m[two] {ESC}[0manother" in printed
    assert re.search(r"server.*state.*step.*time", printed)
    assert "■" in printed


def test_a_long_table_keeps_what_failed_or_is_at_work() -> None:
    hosts = [HostRun(pk=number, state=State.SUCCEEDED) for number in range(50)]
    hosts[40].state, hosts[45].state = State.FAILED, State.RUNNING
    chosen = choose_rows(hosts, 10)
    assert len(chosen) == 9
    assert hosts[40] in chosen
    assert hosts[45] in chosen


@pytest.fixture
def in_waves(switching: Switching) -> Switching:
    """Two servers that are switched one after the other."""
    switching.inventory.add_server("two")
    environment = switching.inventory.environment
    environment.strategy, environment.pause = environment.Strategy.WAVES, 1
    environment.rollback_on_failure = True
    environment.save()
    return switching


def shown_lines(deployment: Deployment) -> str:
    out = io.StringIO()
    watch(deployment, make_view(make_console(out)))
    return out.getvalue()


@pytest.mark.django_db(transaction=True)
def test_waves_are_reported_as_they_begin(in_waves: Switching) -> None:
    printed = shown_lines(in_waves.switch_to("r1"))
    first, second = "\nWave 1 of 2: one\n[one] ▸ Activate", "\nWave 2 of 2: two\n[two] ▸ Activate"
    assert printed.index(first) < printed.index(second)
    assert printed.count("Wave") == 2


@pytest.mark.django_db(transaction=True)
def test_a_pause_is_reported_with_its_end(in_waves: Switching) -> None:
    deployment = in_waves.request("r1")
    opens_at = timezone.now() + timedelta(minutes=5)
    steps = Step.objects.filter(host_run__deployment=deployment, host_run__server_name="one")
    stage = steps.get(recipe="prove_it").stage
    Deployment.objects.update(opens_at=opens_at, stage=stage)
    deployment.refresh_from_db()
    runs = deployment.host_runs.select_related("deployment__environment__project")
    course = Course(list(runs.prefetch_related("steps")))
    until = f"{opens_at:%Y-%m-%d %H:%M:%S} UTC"
    assert list(course.turns(deployment)) == [f"Pause until {until}, before wave 2 of 2."]
    assert not list(course.turns(deployment))


@pytest.mark.django_db(transaction=True)
def test_a_server_that_went_back_says_so(in_waves: Switching) -> None:
    in_waves.switch_to("r1")
    in_waves.break_server("two")
    printed = shown_lines(in_waves.switch_to("r2"))
    assert "[two] ▸ Roll back: Activate the release\n" in printed
    assert "↶ shop/production: switch #" in printed
    assert "one: Rolled back to r1." in printed
