"""The demo on machines that it starts: from bare machines to the site, as its page in the docs."""

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

TOP = Path(__file__).parent.parent
PAGE = TOP / "docs/from-bare-machines-to-a-site.md"
LONGEST = 1200
"""Seconds; eight machines get their packages from Debian's archive."""


def commands_of_the_page() -> set[str]:
    """Return the commands that the page tells people to type, but that which starts the demo."""
    blocks = re.findall(r"```console\n(.*?)```", PAGE.read_text(), re.DOTALL)
    lines = {line for block in blocks for line in block.splitlines()}
    return {line for line in lines if line.startswith(("manage.py ", "fab "))}


@pytest.mark.machines
@pytest.mark.long
def test_the_demo_does_what_its_page_says(tmp_path: Path) -> None:
    kept = {name: value for name, value in os.environ.items() if not name.startswith("DJANGO_")}
    done = subprocess.run(
        [sys.executable, "-m", "example_project.demo.machines", "--check"],
        cwd=TOP,
        env={**kept, "DEPLOY_MANAGER_DEMO_DIR": str(tmp_path / "demo")},
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        check=False,
        timeout=LONGEST,
    )
    assert done.returncode == 0, done.stdout[-5000:] + done.stderr[-5000:]
    typed = set(re.findall(r"^\$ ((?:manage\.py|fab) .*)$", done.stdout, re.MULTILINE))
    assert commands_of_the_page() <= typed
    assert "Through nginx: status 503" in done.stdout
    assert "The site is back" in done.stdout


def test_the_page_has_the_rows_of_the_demo() -> None:
    rows = (TOP / "example_project/demo/talk.py").read_text()
    text = PAGE.read_text()
    names = re.findall(r'^    "([a-z]+[0-9])": \[', rows, re.MULTILINE)
    assert len(names) == 6
    for word in (*names, "guestbook.example.org", "guestbook/production", "config.tiers", "8080"):
        assert word in text
        assert word in rows
