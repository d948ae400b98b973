"""The demo's own check, for real: its sites answer, and nothing is left running."""

import fcntl
import os
import re
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from deploy_manager.requirements.reading import read_pins
from tests.parts.processes import free_port
from tests.parts.served import wait_until

TOP = Path(__file__).parent.parent
LONGEST = 300
"""Seconds; the pins of the sample site are fetched and installed four times."""

CHECK = ("--check",)
STAY = ("--reset",)
"""In a folder that is still empty, it resets nothing and stays."""

INTERRUPTED = 130
"""Exit code of a check that was not let end."""

ADD_A_SERVER = """
from deploy_manager.models import Environment, Server
Environment.objects.get().placements.create(
    server=Server.objects.create(name="five", connection="local"),
    own_deploy_path={path!r},
    own_bind="127.0.0.1:{port}",
)
"""


def environment_of(folder: Path) -> dict[str, str]:
    kept = {name: value for name, value in os.environ.items() if not name.startswith("DJANGO_")}
    return {**kept, "DEPLOY_MANAGER_DEMO_DIR": str(folder)}


def demo_in(folder: Path, *options: str, **variables: str) -> subprocess.Popen[str]:
    """Start the demo with these options; without any, its check."""
    return subprocess.Popen(
        [sys.executable, "-m", "example_project.demo", *(options or CHECK)],
        cwd=TOP,
        env={**environment_of(folder), **variables},
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )


def processes_of(folder: Path) -> list[str]:
    """Command lines of what runs with this folder in its words or its environment."""
    found = []
    for process in Path("/proc").glob("[0-9]*"):
        try:
            words = (process / "cmdline").read_bytes()
            known = words + (process / "environ").read_bytes()
        except OSError:
            continue
        if str(folder).encode() in known:
            found.append(words.replace(b"\0", b" ").decode(errors="replace"))
    return found


@pytest.mark.long
def test_the_check_deploys_verifies_and_leaves_nothing_running(tmp_path: Path) -> None:
    process = demo_in(tmp_path)
    printed, _ = process.communicate(timeout=LONGEST)
    assert process.returncode == 0, printed
    assert printed.count("on server") == 4
    good = ", ".join(["1.0.2"] * 4)
    assert f"The sites greet with {good}: what the upgrade moved holds." in printed
    assert "login: admin" in printed
    assert processes_of(tmp_path) == []
    assert (tmp_path / "admin-password").stat().st_mode & 0o077 == 0
    assert (tmp_path / "broker").stat().st_mode & 0o077 == 0
    add_a_server(tmp_path)
    process = demo_in(tmp_path)
    printed, _ = process.communicate(timeout=LONGEST)
    assert process.returncode == 0, printed
    assert "on server five" in printed
    assert processes_of(tmp_path) == []


def add_a_server(folder: Path) -> None:
    """Add to the demo's environment what a person would add in its admin: a fifth server."""
    rows = ADD_A_SERVER.format(path=str(folder / "elsewhere/five"), port=free_port())
    manage(folder, "shell", "-c", rows)


def manage(folder: Path, *words: str) -> None:
    """Run a command as a person would beside the demo."""
    command = [sys.executable, "example_project/manage.py", *words]
    subprocess.run(
        command, cwd=TOP, env=environment_of(folder), check=True, stdin=subprocess.DEVNULL
    )


@pytest.mark.long
def test_it_starts_again_whatever_people_did(tmp_path: Path) -> None:
    process = demo_in(tmp_path, *STAY)
    read_until(process, "1.1 is published, too")
    read_until(process, "Admin   http://")
    read_until(process, "Ctrl-C stops everything.")
    site = "guestbook/production"
    manage(tmp_path, "overrides", site, "--let-go", "greetings", "--reason", "try", "--take-back")
    manage(tmp_path, "deploy", site, "--take-back")
    manage(tmp_path, "rollback", site)  # from the repository's 1.0 to what the upgrade brought
    process.send_signal(signal.SIGINT)
    printed, _ = process.communicate(timeout=LONGEST)
    assert process.returncode == 0, printed
    assert printed.startswith("\nStopping"), printed
    check_that_it_serves_what_it_served(tmp_path, "would take back greetings 1.0.2 → 1.0")
    manage(tmp_path, "freeze", site, "--reason", "holidays")
    check_that_it_serves_what_it_served(tmp_path, "frozen")


def check_that_it_serves_what_it_served(folder: Path, why: str) -> None:
    process = demo_in(folder)
    printed, _ = process.communicate(timeout=LONGEST)
    assert process.returncode == 0, printed
    assert why in printed
    assert "Traceback" not in printed
    assert processes_of(folder) == []


def put_site(folder: Path, manage: str) -> None:
    """Put a site with this `manage.py` where the demo would make its own."""
    site = folder / "guestbook"
    site.mkdir()
    git = ["git", "-C", str(site), "-c", "user.name=Me", "-c", "user.email=me@localhost"]
    (site / "manage.py").write_text(manage)
    pins = read_pins((TOP / "example_project/sample_site/requirements.txt").read_text())
    gunicorn = next(pin for pin in pins if pin.name == "gunicorn")
    (site / "requirements.txt").write_text(f"{gunicorn.requirement}\nsqlparse==0.5.3\n")
    for words in (["init", "-qb", "main"], ["add", "-A"], ["commit", "-qm", "Broken"]):
        subprocess.run([*git, *words], check=True)


@pytest.mark.long
def test_a_demo_that_fails_shows_the_failed_steps(tmp_path: Path) -> None:
    put_site(tmp_path, r"raise SystemExit('\x1b[31mit\tdoes not work\x1b[0m')")
    process = demo_in(tmp_path)
    printed, _ = process.communicate(timeout=LONGEST)
    told = printed.partition("The demo failed:")[2]
    assert process.returncode == 1, printed
    assert re.search(r"^  it\s+does not work$", told, re.MULTILINE), told
    assert "serves nothing" in told
    assert processes_of(tmp_path) == []


@pytest.mark.long
def test_packages_that_cannot_be_had_are_reported_and_fetched_by_the_next_demo(
    tmp_path: Path,
) -> None:
    put_site(tmp_path, "")
    process = demo_in(tmp_path, PIP_NO_INDEX="1", PIP_FIND_LINKS="", PIP_CONFIG_FILE=os.devnull)
    printed, _ = process.communicate(timeout=LONGEST)
    assert process.returncode == 1, printed
    assert "pip could not download" in printed
    assert "Traceback" not in printed
    assert processes_of(tmp_path) == []
    assert not (tmp_path / "index" / "requirements.txt").exists()  # or it counts as filled


def read_until(process: subprocess.Popen[str], begins: str) -> None:
    """Return as it prints a line that begins so."""
    assert process.stdout is not None
    told = []
    for line in process.stdout:
        told.append(line)
        if line.startswith(begins):
            return
    pytest.fail(f"It ended before it printed {begins!r}:\n{''.join(told)}")


def read_until_it_deploys(process: subprocess.Popen[str]) -> None:
    """Return as its first deployment is shown: queued, or running where a worker was quicker."""
    read_until(process, "#1 ")


@pytest.mark.parametrize(
    "ending",
    [
        pytest.param(signal.SIGHUP, marks=pytest.mark.long),
        pytest.param(signal.SIGTERM, marks=pytest.mark.long),
        signal.SIGKILL,
    ],
)
def test_however_it_ends_the_demo_leaves_nothing_running(
    tmp_path: Path, ending: signal.Signals
) -> None:
    # It must not have failed before it is told to end.
    put_site(tmp_path, "import time; time.sleep(5)")
    process = demo_in(tmp_path)
    read_until_it_deploys(process)
    process.send_signal(ending)
    printed, _ = process.communicate(timeout=LONGEST)
    wait_until(lambda: processes_of(tmp_path) == [])
    expected = -ending if ending == signal.SIGKILL else INTERRUPTED
    assert process.returncode == expected, printed


def test_two_demos_do_not_share_a_folder(tmp_path: Path) -> None:
    held = (tmp_path / "demo.lock").open("w")
    fcntl.flock(held, fcntl.LOCK_EX)
    process = demo_in(tmp_path)
    printed, _ = process.communicate(timeout=LONGEST)
    held.close()
    assert process.returncode == 1
    assert "A demo already runs in" in printed
