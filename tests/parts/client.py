"""The command `deploy-manager` as its users have it: installed without Django."""

import json
import os
import pty
import shutil
import signal
import subprocess
import sys
import tomllib
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from tests.parts.own_project import Terminal

TOP = Path(__file__).parent.parent.parent


@dataclass(frozen=True)
class Ended:
    """A command that has ended."""

    code: int
    out: str
    err: str

    @property
    def events(self) -> list[dict[str, Any]]:
        """What it told programs."""
        return [json.loads(line) for line in self.out.splitlines()]


@dataclass(frozen=True)
class Client:
    """The command, asking as one person from one home."""

    program: Path
    home: Path
    variables: dict[str, str]

    @property
    def environ(self) -> dict[str, str]:
        """Nothing that says whom to trust, nor where a manager is, but these variables."""
        unwanted = ("DJANGO_", "DEPLOY_MANAGER_", "PYTHON", "XDG_", "VIRTUAL_ENV")
        bundles = {"REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE", "SSL_CERT_FILE", "SSL_CERT_DIR"}
        kept = {
            name: value
            for name, value in os.environ.items()
            if not name.startswith(unwanted) and name not in bundles
        }
        path = f"{self.program.parent}{os.pathsep}{kept['PATH']}"
        return {**kept, "PATH": path, "HOME": str(self.home), "COLUMNS": "100", **self.variables}

    def start(self, *words: str, stdin: int = subprocess.DEVNULL) -> "subprocess.Popen[str]":
        return subprocess.Popen(
            [str(self.program), *words],
            cwd=self.home,
            env=self.environ,
            stdin=stdin,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            # What starts the tests may ignore Ctrl-C, as a shell does for what it puts aside.
            preexec_fn=partial(signal.signal, signal.SIGINT, signal.SIG_DFL),
        )

    def run(self, *words: str, typed: str = "") -> Ended:
        """Run it without a terminal."""
        process = self.start(*words, stdin=subprocess.PIPE)
        out, err = process.communicate(typed, timeout=120)
        return Ended(process.returncode, out, err)

    def open_terminal(self, *words: str) -> Terminal:
        """Start it on a terminal of its own."""
        pid, master = pty.fork()
        if pid == 0:
            os.chdir(self.home)
            environ = {**self.environ, "TERM": "xterm"}
            os.execve(self.program, [str(self.program), *words], environ)  # noqa: S606  it is us
        return Terminal(pid, master)


def install_client(folder: Path, python: Path, wheel: Path, *words: str) -> Path:
    """Install a wheel with the extra `client` for a Python; return the command."""
    uv = [sys.executable, "-m", "uv"]
    made = [*uv, "venv", "--quiet", "--python", str(python), str(folder)]
    subprocess.run(made, check=True)
    target = ["pip", "install", "--quiet", "--system-certs", "--python", str(folder)]
    # Compiled once: each test starts it several times.
    subprocess.run([*uv, *target, "--compile-bytecode", *words, f"{wheel}[client]"], check=True)
    return folder / "bin" / "deploy-manager"


def lowest() -> list[str]:
    """Return the lowest version of each library that the extra lets in."""
    project = tomllib.loads((TOP / "pyproject.toml").read_text())["project"]
    return [each.replace(">=", "==") for each in project["optional-dependencies"]["client"]]


def build_wheel(folder: Path) -> Path:
    """Build a wheel of what is here."""
    code = folder / "code"
    leave_out = shutil.ignore_patterns("__pycache__", "build")
    shutil.copytree(TOP / "deploy_manager", code / "deploy_manager", ignore=leave_out)
    for name in ("pyproject.toml", "setup.py", "README.md", "LICENSE"):
        shutil.copy(TOP / name, code)
    command = [sys.executable, "-m", "build", "--wheel", "--no-isolation", "--outdir", str(folder)]
    done = subprocess.run([*command, str(code)], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    return next(folder.glob("*.whl"))
