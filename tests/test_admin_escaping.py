"""Nothing that a server, a repository or a person wrote becomes part of a page."""

import time

import pytest

from deploy_manager.admin.deployments.ansi import to_html
from deploy_manager.models import Environment, HostRun, Project, Release, Server, State, Step
from deploy_manager.models.requirements import LockFile
from tests.inventory import Inventory
from tests.parts.admin import url, visitor, write_deployment, write_output

EVIL = "<script>alert('x')</script>\"><img src=x onerror=alert(1)>"


@pytest.mark.parametrize(
    ("printed", "shown"),
    [
        (b"<b>&amp;</b>", "&lt;b&gt;&amp;amp;&lt;/b&gt;"),
        (b"\x1b[31mred\x1b[0m", '<span class="ansi31">red</span>'),
        (b"\x1b]8;;javascript:alert(1)\x07here\x1b]8;;\x07", "here"),
        (b"\x1b]8;;https://x.example\x1b\\here\x1b]8;;\x1b\\", "here"),
        (b"\x1b\x1b]x\x07]8;;javascript:1\x07here\x1b]8;;\x07", "8;;javascript:1�here"),
        (b"\x1b]0;a title\x07text", "text"),
        (b"\x1b]0;never ended\nnext line", "\nnext line"),
        (b"\x1b[2J\x1b[Hcleared", "cleared"),
        (b"first\nsecond\x1b[A\x1b[Agone?", "first\nsecondgone?"),
        (b"10%\r20%\r\n", "10%\n20%\n"),
        (b"\x1b[38;2;1;2;3mtrue colour", "true colour"),
        (b"a\x00b\x07c", "a�b�c"),
        (b"\xff\xfe", "��"),
        ("evil\u202egnp.exe".encode(), "evil�gnp.exe"),
    ],
)
def test_output_keeps_its_colours_and_nothing_else(printed: bytes, shown: str) -> None:
    assert to_html(printed) == shown


def test_colours_begin_anew_in_each_piece() -> None:
    assert to_html(b"\x1b[31mred and no end\n").endswith("</span>")
    assert to_html(b"plain") == "plain"


@pytest.mark.parametrize("piece", [b"\x1b[", b"\x1b]", b"\x1b[1m", b"\x1b[9", b"<", b"\r", b"\x9b"])
def test_hostile_output_takes_no_time(piece: bytes) -> None:
    began = time.process_time()
    to_html(piece * (64 * 1024 // len(piece)))
    assert time.process_time() - began < 2


@pytest.fixture
def evil(inventory: Inventory) -> int:
    """A deployment whose every text is hostile, on an environment and a server alike."""
    environment = inventory.environment
    Project.objects.update(name=EVIL[:50], repository=EVIL)
    Environment.objects.update(name=EVIL[:50], ref=EVIL)
    Server.objects.update(name=EVIL, address=EVIL, user="u", connection="ssh", host_key=EVIL)
    environment.refresh_from_db()
    release = Release.objects.make(environment, EVIL[:60], EVIL, LockFile.objects.of("a", EVIL))
    environment.placements.update(active_release=release)
    deployment = write_deployment(
        environment,
        state=State.FAILED,
        titles=(EVIL,),
        recipe=EVIL[:50],
        ref=EVIL,
        commit=EVIL[:60],
        message=EVIL,
        requested_by_name=EVIL,
        source=EVIL[:20],
        reason=EVIL,
        release=release,
    )
    HostRun.objects.update(message=EVIL, server_name=EVIL)
    Step.objects.update(message=EVIL, phase=EVIL[:50])
    write_output(Step.objects.get(), EVIL.encode())
    return deployment.pk


@pytest.mark.parametrize(
    ("page", "has_key"),
    [
        ("deployment_change", True),
        ("deployment_changelist", False),
        ("environment_changelist", False),
        ("environment_change", True),
        ("server_changelist", False),
        ("server_change", True),
        ("release_changelist", False),
        ("lockfile_changelist", False),
        ("project_changelist", False),
        ("environment_requirements", True),
        ("server_host_key", True),
    ],
)
def test_hostile_words_stay_words(evil: int, page: str, has_key: bool) -> None:
    model = {"deployment": evil, "environment": Environment.objects.get().pk}
    key = model.get(page.split("_")[0], Server.objects.get().pk)
    answer = visitor("owner").get(url(page, *([key] if has_key else [])))
    text = answer.content.decode()
    assert answer.status_code == 200
    assert "<script>alert" not in text
    assert "<img src=x" not in text


def test_hostile_words_in_a_plan_stay_words(evil: int) -> None:
    address = url("environment_run", "ping", on=Environment.objects.get().pk)
    text = visitor("owner").get(address).content.decode()
    assert "alert(" in text
    assert "<script>alert" not in text
    assert "<img src=x" not in text


def test_hostile_output_in_progress_is_escaped(evil: int) -> None:
    news = visitor("owner").get(url("deployment_progress", evil)).json()
    assert news["chunks"][0]["html"].startswith("&lt;script&gt;")
    assert "<" not in news["chunks"][0]["html"]


def test_a_hostile_server_name_is_only_a_file_name(evil: int) -> None:
    answer = visitor("owner").get(url("deployment_log", evil, host=HostRun.objects.get().pk))
    assert answer["Content-Disposition"].startswith("attachment; filename")
    assert "\n" not in answer["Content-Disposition"]
