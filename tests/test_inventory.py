"""What is installed on servers is asked of them over SSH, and kept on the rows."""

import os
import socket
import subprocess
from dataclasses import replace
from datetime import timedelta
from pathlib import Path

import pytest
from django.db.models import DateTimeField, Value
from django.db.models.functions import Cast
from django.utils import timezone

from deploy_manager.addresses import address_of
from deploy_manager.messages import Message
from deploy_manager.models import InstalledPackage, Placement
from deploy_manager.packages import inventory as runner_inventory
from deploy_manager.packages.inventory import (
    claim_due_placements,
    due_placements,
    take_inventories,
    take_inventory,
)
from tests.inventory import Inventory
from tests.parts.installed import Machine, Site, make_release

pytestmark = [pytest.mark.database, pytest.mark.django_db(transaction=True)]


def problem_of(machine: Machine) -> str:
    """Ask a server; return why it told nothing."""
    assert not take_inventory(machine.placement.pk)
    return str(machine.refresh().inventory_problem)


def let_python_print(machine: Machine, answer: str) -> None:
    """Let every Python of the environment print something and end, before it runs anything."""
    code = f"import os; os.write(1, {answer.encode()!r}); os._exit(0)\n"
    (machine.packages / "site_prints.pth").write_text(code)


def test_a_server_shows_what_its_active_release_has(site: Site) -> None:
    web1 = site.add("web1", Django="5.2.8", zope_interface="7.0.1")
    assert take_inventory(web1.placement.pk)
    assert web1.installed == {"django": "5.2.8", "zope-interface": "7.0.1"}
    placement = web1.refresh()
    assert placement.inventory_at is not None
    assert timezone.now() - placement.inventory_at < timedelta(minutes=1)
    assert placement.inventory_problem == ""
    python = web1.folder / "current/venv/bin/python"
    told = subprocess.run(
        [python, "-c", "import sys; print(sys.version.split()[0])"], capture_output=True, text=True
    )
    assert placement.python_version == told.stdout.strip()
    assert placement.implementation == "CPython"
    assert placement.platform.startswith("linux-")
    assert placement.libc


def test_a_local_server_is_asked_the_same_way(inventory: Inventory) -> None:
    placement = inventory.environment.placements.get()
    make_release(inventory.folder / "one")
    machine = Machine(placement, inventory.folder / "one")
    machine.install("celery", "5.5.0")
    assert take_inventory(placement.pk)
    assert machine.installed == {"celery": "5.5.0"}


@pytest.mark.as_root
def test_nothing_is_run_that_another_account_has_put_there(inventory: Inventory) -> None:
    placement = inventory.environment.placements.get()
    make_release(inventory.folder / "one")
    machine = Machine(placement, inventory.folder / "one")
    let_python_print(machine, "mine now")
    os.chown((machine.folder / "current/venv").resolve(), 54321, 54321)
    assert "belongs to another account" in problem_of(machine)


def test_nothing_is_written_on_the_server(site: Site) -> None:
    web1 = site.add("web1", django="5.2.8")

    def files() -> set[tuple[Path, int]]:
        return {(path, path.lstat().st_mtime_ns) for path in web1.folder.rglob("*")}

    before = files()
    assert take_inventory(web1.placement.pk)
    assert files() == before


def test_what_is_installed_by_hand_shows_and_only_what_changed_is_written(site: Site) -> None:
    web1 = site.add("web1", django="5.2.7", celery="5.5.0", kombu="5.4.0")
    take_inventory(web1.placement.pk)
    kept = web1.placement.installed.get(name="celery").pk
    moved = web1.placement.installed.get(name="django").pk
    web1.remove("django")
    web1.remove("kombu")
    web1.install("django", "5.2.8")
    web1.install("rich", "14.0")
    take_inventory(web1.placement.pk)
    assert web1.installed == {"django": "5.2.8", "celery": "5.5.0", "rich": "14.0"}
    assert web1.placement.installed.get(name="celery").pk == kept
    assert web1.placement.installed.get(name="django").pk == moved


def test_where_nothing_is_deployed_that_is_given(site: Site) -> None:
    assert problem_of(site.add_empty("web1")) == "Nothing is deployed there yet."


def test_a_release_without_an_environment_is_reported(site: Site) -> None:
    web1 = site.add_empty("web1")
    (web1.folder / "current").mkdir()
    assert "The active release of web1 can't be asked:" in problem_of(web1)


def test_a_server_that_cannot_be_reached_keeps_what_was_seen_last(
    site: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    web1 = site.add("web1", django="5.2.8")
    take_inventory(web1.placement.pk)
    seen = web1.refresh().inventory_at
    with socket.create_server((site.sshd.address, 0)) as taken:
        port = taken.getsockname()[1]
    # Its row stays as it is: another port would be another place, of which nothing is known.
    closed = replace(address_of(web1.placement.server), port=port)
    with monkeypatch.context() as patch:
        patch.setattr("deploy_manager.packages.inventory.address_of", lambda server, **_: closed)
        assert "refuses connections" in problem_of(web1)
    assert (web1.installed, web1.refresh().inventory_at) == ({"django": "5.2.8"}, seen)
    assert web1.placement.inventory_tried_at != seen
    assert take_inventory(web1.placement.pk)
    assert web1.refresh().inventory_problem == ""


def test_a_server_that_hangs_is_given_up_in_time(
    site: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(runner_inventory, "TIMEOUT", 1.0)
    web1 = site.add("web1")
    (web1.packages / "hangs.pth").write_text("import time; time.sleep(60)\n")
    assert problem_of(web1) == "web1 did not report its packages within 1 s."


def test_a_server_that_is_asked_at_a_full_second_counts_too(
    site: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    second = Cast(Value("2026-11-27 13:15:00.000"), DateTimeField())
    monkeypatch.setattr(runner_inventory, "Now", lambda: second)
    web1 = site.add("web1", django="5.2.8")
    assert take_inventory(web1.placement.pk)
    assert web1.installed == {"django": "5.2.8"}


@pytest.mark.parametrize(
    ("answer", "problem"),
    [
        ("no JSON", "is not a list of its packages"),
        ("[]", "is not a list of its packages"),
        ('{"packages": []}', "is not a list of its packages"),
        ("[" * 100_000, "is not a list of its packages"),
        ("x" * 2_000_000, "is too long"),
        ("", "is not a list of its packages"),
    ],
    # pytest puts ids into a variable of the environment, which has no room for all of an answer.
    ids=["no JSON", "list", "packages in a list", "nested", "long", "nothing"],
)
def test_an_answer_that_is_none_is_refused(site: Site, answer: str, problem: str) -> None:
    web1 = site.add("web1", django="5.2.8")
    assert take_inventory(web1.placement.pk), web1.refresh().inventory_problem
    let_python_print(web1, answer)
    assert problem in problem_of(web1)
    assert web1.installed == {"django": "5.2.8"}


@pytest.mark.parametrize(
    ("name", "version", "problem"),
    [
        ("django", "5.2\x00", "django in an invalid version"),
        ("django", "<script>" * 20, "django in an invalid version"),
        ("-r", "1.0", "a package with an invalid name"),
        ("d" * 201, "1.0", "a package with an invalid name"),
    ],
)
def test_a_package_that_is_none_is_refused(
    site: Site, name: str, version: str, problem: str
) -> None:
    web1 = site.add("web1")
    facts = '"implementation": "", "python": "", "platform": "", "libc": ""'
    pair = f'["{name}", "{version}"]'.replace("\x00", "\\u0000")
    let_python_print(web1, f'{{{facts}, "packages": [{pair}]}}')
    assert problem in problem_of(web1)
    assert not InstalledPackage.objects.exists()


def test_what_pip_left_half_removed_is_not_told(site: Site) -> None:
    web1 = site.add("web1", django="5.2.8")
    (web1.packages / "~jango-5.2.7.dist-info").mkdir()
    (web1.packages / "rich-14.0.dist-info").mkdir()
    assert take_inventory(web1.placement.pk)
    assert web1.installed == {"django": "5.2.8", "rich": "14.0"}


def test_versions_are_spelled_as_pins_are(site: Site) -> None:
    web1 = site.add("web1")
    for name, version in (("one", "1.0.0-RC1"), ("two", "0.1-bulbous")):
        folder = web1.packages / f"{name}-x.dist-info"
        folder.mkdir()
        (folder / "METADATA").write_text(f"Name: {name}\nVersion: {version}\n")
    assert take_inventory(web1.placement.pk)
    assert web1.installed == {"one": "1.0.0rc1", "two": "0.1-bulbous"}


def test_many_are_asked_side_by_side_and_one_that_fails_hides_no_other(site: Site) -> None:
    for number in range(4):
        site.add(f"web{number}", django="5.2.8")
    broken = site.add_empty("web4")
    problems = take_inventories(site.environment.placements.all(), at_once=3)
    assert {pk for pk, problem in problems.items() if problem} == {broken.placement.pk}
    assert InstalledPackage.objects.count() == 4


def test_who_began_to_ask_first_writes_nothing_any_more(
    site: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    web1 = site.add("web1", django="5.2.7")
    ask = runner_inventory.ask
    heard: list[runner_inventory.Answer] = []

    def ask_late(*words: object) -> runner_inventory.Answer:
        told = ask(*words)  # type: ignore[arg-type]
        if not heard:
            heard.append(told)
            web1.remove("django")
            web1.install("django", "5.2.8")
        return told

    monkeypatch.setattr(runner_inventory, "ask", ask_late)
    note = runner_inventory._note_answer

    def note_late(*words: object) -> Message:
        monkeypatch.setattr(runner_inventory, "_note_answer", note)
        assert take_inventory(web1.placement.pk)
        return note(*words)  # type: ignore[arg-type]

    monkeypatch.setattr(runner_inventory, "_note_answer", note_late)
    assert not take_inventory(web1.placement.pk)
    assert web1.installed == {"django": "5.2.8"}


def test_a_placement_that_is_gone_is_not_asked(site: Site) -> None:
    web1 = site.add("web1")
    key = web1.placement.pk
    web1.placement.delete()
    assert not take_inventory(key)


def test_what_was_asked_long_ago_is_due_and_is_claimed_once(site: Site) -> None:
    for name in ("web1", "web2", "web3"):
        site.add_empty(name)
    keys = [machine.placement.pk for machine in site.machines.values()]
    rows = Placement.objects
    rows.filter(pk=keys[1]).update(inventory_tried_at=timezone.now() - timedelta(seconds=3590))
    rows.filter(pk=keys[2]).update(inventory_tried_at=timezone.now() - timedelta(seconds=3610))
    assert set(due_placements().values_list("pk", flat=True)) == {keys[0], keys[2]}
    assert len(claim_due_placements(1)) == 1
    assert len(claim_due_placements(50)) == 1
    assert claim_due_placements(50) == []
