"""Whether a server is fit is told finding by finding, before anything is sent to it."""

import json
import os
import runpy
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from deploy_manager.exceptions import CommandFailed
from deploy_manager.recipes import Reload, preflight
from tests.recipe_site import RecipeSite

SCRIPT = Path(preflight.__file__).parent / "remote/preflight.py"


@pytest.fixture
def listening() -> Iterator[str]:
    """An address of this machine where something listens."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        yield f"127.0.0.1:{server.getsockname()[1]}"


def use_gunicorn(recipe_site: RecipeSite, bind: str) -> None:
    recipe_site.use(reload=Reload("gunicorn", bind=bind))


def note_gunicorn(recipe_site: RecipeSite, bind: str) -> None:
    """Write what a deployment leaves that started the site's processes."""
    tools = Path(recipe_site.site.tools_path)
    tools.mkdir(parents=True, exist_ok=True)
    facts = {"serves": True, "bind": bind, "processes": []}
    (tools / "processes.json").write_text(json.dumps(facts))


def test_a_fit_server_is_reported_so_and_nothing_is_left_there(recipe_site: RecipeSite) -> None:
    printed = recipe_site.run("preflight")
    assert [line[0] for line in printed.splitlines()[1:]] == ["✓"] * 6
    assert f"virtual environments run in {recipe_site.site.deploy_path}" in printed
    assert os.listdir(recipe_site.site.deploy_path) == [".deploy"]


def test_a_port_that_is_free_or_our_own_is_fine(recipe_site: RecipeSite, listening: str) -> None:
    use_gunicorn(recipe_site, f"unix:{recipe_site.site.deploy_path}/socket")
    assert "socket is free" in recipe_site.run("preflight")
    use_gunicorn(recipe_site, listening)
    note_gunicorn(recipe_site, listening)
    assert f"✓ {listening} is served by this site" in recipe_site.run("preflight")


def test_a_port_of_somebody_else_is_not(recipe_site: RecipeSite, listening: str) -> None:
    use_gunicorn(recipe_site, listening)
    note_gunicorn(recipe_site, "127.0.0.1:1")
    with pytest.raises(CommandFailed, match=f"✗ Something else listens on {listening}: stop it"):
        recipe_site.run("preflight")


def test_all_that_is_amiss_is_reported_at_once(
    recipe_site: RecipeSite, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(preflight, "CLOCK_SECONDS", -1)
    monkeypatch.setattr(preflight, "FREE_BYTES", 2**60)
    with pytest.raises(CommandFailed, match=r"^one is not ready for the site:\n") as failed:
        recipe_site.run("preflight")
    disk, clock = str(failed.value).splitlines()[1:]
    assert disk.startswith("✗ ")
    assert disk.endswith(f": {2**40} are needed.")
    assert clock.endswith(" s off the worker's: set up a time service (NTP).")
    assert "✓ Python 3" in recipe_site.printed.decode()


def test_a_large_archive_needs_twice_its_size(recipe_site: RecipeSite, tmp_path: Path) -> None:
    archive = tmp_path / "large.tar.gz"
    archive.touch()
    os.truncate(archive, 2**43)
    recipe_site.use(archive=archive)
    with pytest.raises(CommandFailed, match=f"{2**24} are needed"):
        recipe_site.run("preflight")


def test_a_path_that_can_t_be_written_is_named() -> None:
    facts = {
        "deploy_path": "/proc/nowhere",
        "bind": "",
        "free_bytes": 0,
        "time": time.time(),
        "clock_seconds": 30,
    }
    done = subprocess.run(
        [sys.executable, SCRIPT],
        input=json.dumps(facts),
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == 1
    assert "✗ /proc/nowhere can't be written: " in done.stderr
    assert "Traceback" not in done.stderr
    assert "✓ clock within 30 s" in done.stdout


def test_what_a_program_says_in_another_encoding_is_reported() -> None:
    module = runpy.run_path(str(SCRIPT))
    with pytest.raises(module["Problem"], match=r"^It fails: la clé n'est pas là: .$"):
        module["run"](
            ["sh", "-c", r"printf 'la cl\303\251 n'\''est pas l\303\240: \351\n' >&2; exit 1"],
            "it fails",
        )


def test_an_old_python_is_reported_with_what_to_do() -> None:
    python = runpy.run_path(str(SCRIPT))["python"]
    python.__globals__["OLDEST_PYTHON"] = (99,)
    with pytest.raises(Exception, match=r"is needed\. Enter another") as told:
        python({})
    assert type(told.value).__name__ == "Problem"
