"""Which index the uv and pip of this machine use: told without a client of any."""

import importlib.util
import os
import re
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path

from django.utils.translation import gettext_noop as _

from deploy_manager.exceptions import IndexUnreachable
from deploy_manager.messages import Message

LONGEST_REASON = 500
PIP_ANSWERS_WITHIN = 60.0
"""Seconds."""

_SETTINGS = ("UV_DEFAULT_INDEX", "UV_INDEX_URL", "PIP_INDEX_URL")
_PIP_SETTINGS = ("install.index-url", "global.index-url")
"""As pip install takes them: a command's own first."""

_NAME_BEFORE_URL = re.compile(r"^[\w.-]+=(?=\w+:)")


def own_index_url(environment: Mapping[str, str] = os.environ) -> str:
    """Return the index that this machine's uv and pip use by default.

    Raises IndexUnreachable if pip can't say: the public index might have other packages under the
    names of an organization's own.
    """
    url = next((environment[name] for name in _SETTINGS if environment.get(name)), "")
    if url:
        return _NAME_BEFORE_URL.sub("", url)  # uv allows name=URL
    # An environment that uv made may have no pip, which alone can read what is configured for it.
    if importlib.util.find_spec("pip") is None:
        if found := next((each for each in pip_files(environment) if each.is_file()), None):
            raise _silent_pip(Message(_("%(file)s is there, but pip is not installed"), file=found))
        return _public_index()
    # Only pip itself knows all the files that may configure it. It is asked for the list first, as
    # `get` fails for what is not set as it does for a file that can't be read.
    listed = _pip_config("list").splitlines()
    for name in _PIP_SETTINGS:
        if any(line.startswith(f"{name}=") for line in listed):
            # The list has the files in the order of their names, not of precedence.
            return _pip_config("get", name).strip() or _public_index()
    return _public_index()


def pip_files(environment: Mapping[str, str]) -> list[Path]:
    """Return the files that may configure pip: https://pip.pypa.io/en/stable/topics/configuration/"""
    home = Path(environment.get("HOME") or "/nonexistent")
    settings = Path(environment.get("XDG_CONFIG_HOME") or home / ".config")
    named = [Path(environment["PIP_CONFIG_FILE"])] if environment.get("PIP_CONFIG_FILE") else []
    ours = [Path("/etc/pip.conf"), Path("/etc/xdg/pip/pip.conf"), Path(sys.prefix) / "pip.conf"]
    return [*named, *ours, home / ".pip/pip.conf", settings / "pip/pip.conf"]


def _pip_config(*words: str) -> str:
    """Return what `pip config` prints. Raises IndexUnreachable."""
    # An account that has set `quiet` would get no answer.
    environment = {**os.environ, "PIP_QUIET": "0", "PIP_VERBOSE": "0"}
    command = [sys.executable, "-X", "utf8", "-m", "pip", "--no-input", "config", *words]
    try:
        done = subprocess.run(
            command,
            env=environment,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            encoding="utf-8",
            errors="replace",
            timeout=PIP_ANSWERS_WITHIN,
            check=False,
        )
    except subprocess.TimeoutExpired:
        raise _silent_pip(
            Message(_("no answer within %(seconds)s s"), seconds=f"{PIP_ANSWERS_WITHIN:g}")
        ) from None
    except OSError as error:
        raise _silent_pip(error.strerror or str(error)) from None
    if done.returncode:
        reason = " ".join(done.stderr.split()) or Message(
            _("exit code %(number)d"), number=done.returncode
        )
        raise _silent_pip(reason)
    return done.stdout


def _silent_pip(reason: Message | str) -> IndexUnreachable:
    text = _(
        "Which package index to use is unknown, since pip can't read its configuration: %(reason)s."
        " As the account of the worker, run pip config list; or set UV_DEFAULT_INDEX for it."
    )
    return IndexUnreachable(
        Message(text, IndexUnreachable.code, reason=reason).masked(LONGEST_REASON)
    )


def _public_index() -> str:
    from pypi_simple import PYPI_SIMPLE_ENDPOINT

    return PYPI_SIMPLE_ENDPOINT
