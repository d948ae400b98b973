"""The guestbook that the demo deploys, as a server runs it: its own pins, gunicorn, SQLite."""

import http.cookiejar
import json
import os
import re
import shutil
import subprocess
import sys
import time
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import pytest

from deploy_manager.requirements.reading import read_pins
from tests.parts.processes import free_port

SAMPLE = Path(__file__).parent.parent / "example_project/sample_site"
COMMIT = "0123456789abcdef0123456789abcdef01234567"


class Site:
    """A copy of the sample site with a virtual environment of its own."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder / "code"
        self.tools = folder / "venv/bin"
        self.url = ""
        self.environment = {
            **{name: text for name, text in os.environ.items() if not name.startswith("DJANGO_")},
            "DATABASE_PATH": str(folder / "guestbook.sqlite3"),
            "DEPLOY_COMMIT": COMMIT,
            "DEPLOY_RELEASE": "r1",
        }
        shutil.copytree(SAMPLE, self.folder)

    def install(self) -> None:
        run(str(_uv()), "venv", "--quiet", "--python", sys.executable, str(self.tools.parent))
        words = (
            "install",
            "--quiet",
            "--system-certs",
            "--require-hashes",
            "-r",
            "requirements.txt",
        )
        python = str(self.tools / "python")
        run(str(_uv()), "pip", *words, "--python", python, folder=self.folder)

    def manage(self, *words: str) -> str:
        python = str(self.tools / "python")
        return run(python, "manage.py", *words, folder=self.folder, environment=self.environment)

    def serve(self) -> "subprocess.Popen[bytes]":
        bind = f"127.0.0.1:{free_port()}"  # chosen late: others look for one, too
        self.url = f"http://{bind}"
        return subprocess.Popen(
            [str(self.tools / "gunicorn"), "--bind", bind, "config.wsgi:application"],
            cwd=self.folder,
            env=self.environment,
        )


def run(*words: str, folder: Path | None = None, environment: dict[str, str] | None = None) -> str:
    done = subprocess.run(
        words, cwd=folder, env=environment, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, f"{words}\n{done.stdout}\n{done.stderr}"
    return done.stdout


def _uv() -> Path:
    return Path(sys.executable).parent / "uv"


def _wait_for(url: str, server: "subprocess.Popen[bytes]") -> None:
    deadline = time.monotonic() + 120
    while True:
        assert server.poll() is None, "gunicorn ended"
        try:
            with urllib.request.urlopen(url, timeout=5):
                return
        except OSError:  # refused, or too slow yet
            assert time.monotonic() < deadline, f"{url} does not answer"
            time.sleep(0.1)


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    """The site, migrated and served."""
    made = Site(tmp_path_factory.mktemp("guestbook"))
    made.install()
    made.manage("migrate", "--noinput")
    made.manage("collectstatic", "--noinput")
    server = made.serve()
    try:
        _wait_for(f"{made.url}/health/", server)
        yield made
    finally:
        server.terminate()
        server.wait(timeout=40)


def get(url: str) -> str:
    with urllib.request.urlopen(url, timeout=10) as answer:
        return str(answer.read().decode())


def test_it_passes_its_own_checks_and_has_every_migration(site: Site) -> None:
    assert "no issues" in site.manage("check")
    assert "No changes" in site.manage("makemigrations", "--check")


def test_health_names_the_commit_and_the_release(site: Site) -> None:
    told = json.loads(get(f"{site.url}/health/"))
    assert told.items() >= {"status": "ok", "commit": COMMIT, "release": "r1"}.items()


def test_a_visitor_signs_and_sees_it_escaped(site: Site) -> None:
    opener = urllib.request.build_opener(
        urllib.request.HTTPCookieProcessor(http.cookiejar.CookieJar())
    )
    page = opener.open(f"{site.url}/", timeout=10).read().decode()
    token = re.search(r'name="csrfmiddlewaretoken" value="(\w+)"', page)
    assert token is not None
    entry = {"csrfmiddlewaretoken": token[1], "name": "Me", "text": "<b>hello</b>"}
    data = urllib.parse.urlencode(entry).encode()
    page = opener.open(f"{site.url}/", data, timeout=10).read().decode()
    assert "&lt;b&gt;hello&lt;/b&gt;" in page
    assert COMMIT[:8] in page


def test_static_files_are_served_under_names_of_their_content(site: Site) -> None:
    style = re.search(r'href="(/static/guestbook/guestbook\.[0-9a-f]+\.css)"', get(f"{site.url}/"))
    assert style is not None
    assert "--paper" in get(f"{site.url}{style[1]}")


def test_without_its_database_it_is_not_healthy(site: Site, tmp_path: Path) -> None:
    path = Path(site.environment["DATABASE_PATH"])
    away = path.rename(tmp_path / "away")
    try:
        with pytest.raises(urllib.error.HTTPError, match="500"):
            get(f"{site.url}/health/")
    finally:
        away.replace(path)


def test_its_pins_are_whole_hashed_and_name_no_host() -> None:
    text = (SAMPLE / "requirements.txt").read_text()
    pins = read_pins(text)
    assert all(pin.hashes for pin in pins)
    assert {pin.name for pin in pins if pin.direct} == {"django", "gunicorn", "whitenoise"}
    assert "://" not in text
