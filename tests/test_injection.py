"""Whatever stands in a row arrives as text: no shell, interpreter or template takes it for code."""

import json
import shutil
import subprocess
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pytest_django import Settings

from deploy_manager.deployments.request import DeploymentOptions, request
from deploy_manager.deployments.run import run
from deploy_manager.hosts.shell import login_line
from deploy_manager.models import Environment, LogChunk, Server, State
from tests.inventory import Inventory
from tests.parts.guestbook import end_gunicorns, make_site
from tests.parts.injection import CANARY, VALUES
from tests.parts.repository import Repository
from tests.parts.sshd import StartSshd
from tests.test_over_ssh import PINS, place, reach_over_ssh

MANAGE = """
import json, sys
if sys.argv[1] == "show":
    print("WORDS " + json.dumps(sys.argv[2:]))
"""
SITE_WSGI = """
import json, os
def application(environ, start_response):
    start_response("200 OK", [("Content-Type", "application/json")])
    values = {name: value for name, value in os.environ.items() if name.startswith("HOSTILE_")}
    return [json.dumps(values).encode() + os.environ["GREETING"].encode()]
"""

SENT = tuple(value for value in VALUES if "\0" not in value and "\ud800" not in value)
"""Those that can be a variable of a process; the others are refused: test_hostile_rows."""

TYPED = tuple(value for value in SENT if value.isprintable())[:98]
"""Those that can be a word of a one-off command, in one of its lines."""

SHELLS = ("dash", "bash", "tcsh", "fish")


@pytest.fixture(autouse=True)
def canary() -> Iterator[None]:
    """Nothing has made the canary, whatever the test did."""
    yield
    assert not Path(CANARY).exists()


@pytest.mark.parametrize("shell", SHELLS)
@settings(max_examples=60, deadline=None)
@given(words=st.lists(st.text(st.characters(exclude_characters="\0", codec="utf-8")), max_size=5))
def test_words_arrive_through_any_login_shell(shell: str, words: list[str]) -> None:
    assert through(shell, words) == words


@pytest.mark.parametrize("shell", SHELLS)
def test_hostile_words_arrive_through_any_login_shell(shell: str) -> None:
    assert len(SENT) > 300
    assert through(shell, list(SENT)) == list(SENT)


def through(shell: str, words: list[str]) -> list[str]:
    """What printf gets of these words, where a login shell is handed our line, as sshd does it."""
    program = shutil.which(shell)
    assert program, f"{shell} is missing: apt-get install {shell}"
    quoted = " ".join("'" + word.replace("'", "'\\''") + "'" for word in words)
    line = login_line(f"printf '%s\\0' begin {quoted}")
    done = subprocess.run([program, "-c", line], capture_output=True, timeout=60)
    assert (done.returncode, done.stderr) == (0, b"")
    return done.stdout.decode().split("\0")[1:-1]


@pytest.fixture
def production(
    repository: Repository,
    start_sshd: StartSshd,
    ssh_settings: Settings,
    tmp_path: Path,
    transactional_db: None,
) -> Iterator[Inventory]:
    """`shop/production` on one server over SSH, by pip and gunicorn, hostile wherever it may be."""
    sshd = start_sshd()
    repository.commit(
        VALUES[0],
        {"manage.py": MANAGE, "site_wsgi.py": SITE_WSGI, "requirements.txt": PINS},
    )
    made = make_site(tmp_path, repository, sshd.home / "unused.sqlite3")
    greeting = next(value for value in SENT if "\n" not in value and "'" in value)
    Environment.objects.update(
        wsgi_application="site_wsgi:application",
        health_path="/",
        health_text=greeting,
        installer=Environment.Installer.PIP,
        migrate=Environment.Migrate.NEVER,
        variables={
            "GREETING": greeting,
            **{f"HOSTILE_{number}": value for number, value in enumerate(SENT)},
        },
    )
    made.environment.refresh_from_db()
    made.environment.full_clean()
    server = Server(name="web1")
    reach_over_ssh(server, sshd)
    place(made, server, sshd)
    yield made
    end_gunicorns(made.environment)


@pytest.mark.django_db(transaction=True)
def test_rows_of_hostile_text_are_deployed_as_they_are(production: Inventory) -> None:
    """Variables, a health check, who asks and why; then the words of a one-off command."""
    for recipe, words in (("deploy", ()), ("manage_site", ("show", *TYPED))):
        made = request(
            production.environment,
            recipe,
            source="manage.py",
            requested_by_name=f"me@{VALUES[1]}"[:200],
            options=DeploymentOptions(reason=VALUES[2], arguments=words),
        )
        run(made.pk)
        made.refresh_from_db()
        assert (made.state, str(made.message)) == (State.SUCCEEDED, "")

    with urllib.request.urlopen(f"http://{production.environment.placements.get().bind}/") as said:
        served, _end = json.JSONDecoder().raw_decode(said.read().decode())
    assert served == {f"HOSTILE_{number}": value for number, value in enumerate(SENT)}
    output = b"".join(bytes(each) for each in LogChunk.objects.values_list("data", flat=True))
    told = output.decode().split("WORDS ")[1]
    assert json.JSONDecoder().raw_decode(told)[0] == list(TYPED)
