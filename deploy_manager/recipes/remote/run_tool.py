"""Run pip, uv or virtualenv without the account's options for installing. Runs on the server.

`run_tool.py <virtualenv's file, uv, or the word pip> <words>`, by the Python that pip belongs to.
An account's options for installing (target folders, excluded packages) would make an environment
differ from its pins. Its options for reaching an index stay: addresses, proxies, certificates,
timeouts. Reads JSON: index_url, which takes precedence over the account's unless it is blank, and
netrc, what the index is logged in to with: it is in no variable, on no command line and no disk.
Python 3.11 or later.
"""

from __future__ import annotations

import ast
import json
import os
import re
import subprocess
import sys
import tempfile
import tomllib
from pathlib import Path
from typing import IO, Any

PIP_KEEPS = {
    "cache-dir",
    "cert",
    "client-cert",
    "default-timeout",
    "extra-index-url",
    "find-links",
    "index-url",
    "keyring-provider",
    "no-cache-dir",
    "no-index",
    "proxy",
    "pypi-url",
    "resume-retries",
    "retries",
    "timeout",
    "trusted-host",
    "use-deprecated",
    "use-feature",
}
UV_KEEPS = {
    "allow-insecure-host",
    "concurrent-builds",
    "concurrent-downloads",
    "concurrent-installs",
    "extra-index-url",
    "find-links",
    "http-proxy",
    "https-proxy",
    "index",
    "index-strategy",
    "index-url",
    "keyring-provider",
    "link-mode",
    "native-tls",
    "no-index",
    "no-proxy",
    "offline",
    "system-certs",
}
UV_KEEPS_VARIABLES = re.compile(
    r"UV_(INDEX(_.*)?|DEFAULT_INDEX|EXTRA_INDEX_URL|FIND_LINKS|NO_INDEX|KEYRING_PROVIDER|NATIVE_TLS"
    r"|SYSTEM_CERTS|INSECURE_HOST|OFFLINE|HTTP_.*|REQUEST_TIMEOUT|CONCURRENT_.*|LINK_MODE"
    r"|CREDENTIALS_DIR|NO_PROGRESS)"
)
PIP = [sys.executable, "-I", "-X", "utf8", "-m", "pip"]
SETTING = re.compile(r"([^=\s]+)\.([a-z-]+)=(['\"].*)")


def without(prefix: str) -> dict[str, str]:
    """The environment variables without those of a tool."""
    return {name: value for name, value in os.environ.items() if not name.startswith(prefix)}


# pip


def for_pip(command: str, index_url: str) -> dict[str, str]:
    """The environment variables for a pip command: the kept settings instead of its files.

    A setting of the command takes precedence over a global one, and a variable over both.
    """
    kept: dict[str, str] = {}
    sections = pip_settings() if command in ("install", "wheel") else {}
    for section in ("global", command, ":env:"):
        for name, value in sections.get(section, {}).items():
            if name in PIP_KEEPS and value:
                kept[name] = value
    if index_url:
        # An older name of the same option.
        kept.pop("pypi-url", None)
        kept["index-url"] = index_url
    variables = {f"PIP_{name.upper().replace('-', '_')}": text for name, text in kept.items()}
    # os.devnull stands for no configuration file at all: see pip's own page on its configuration.
    return {**without("PIP_"), **variables, "PIP_CONFIG_FILE": os.devnull}


def pip_settings() -> dict[str, dict[str, str]]:
    """Return the settings in pip's files and variables, by section."""
    sections: dict[str, dict[str, str]] = {}
    for line in pip_config("list").splitlines():
        if found := SETTING.fullmatch(line):
            section, name, text = found.groups()
            settings = sections.setdefault(section, {})
            # Listed in the order of the files' names: `get` knows which file takes precedence.
            if name in settings:
                settings[name] = pip_config("get", f"{section}.{name}").removesuffix("\n")
            else:
                settings[name] = str(ast.literal_eval(text))
    return sections


def pip_config(*words: str) -> str:
    """Return what `pip config` prints."""
    # An account that has set `quiet` would get no answer.
    environment = {**os.environ, "PIP_QUIET": "0", "PIP_VERBOSE": "0"}
    ask = [*PIP, "--no-input", "--disable-pip-version-check", "config", *words]
    asked = subprocess.run(
        ask, env=environment, capture_output=True, encoding="utf-8", errors="replace"
    )
    if asked.returncode:
        sys.exit(f"pip can't read its own configuration: {asked.stderr.strip()}")
    return asked.stdout


# uv


def for_uv(folder: str, index_url: str) -> dict[str, str]:
    """The environment variables for uv, which reads the kept settings from one file."""
    kept = {name: os.environ[name] for name in os.environ if UV_KEEPS_VARIABLES.fullmatch(name)}
    if index_url:
        # An older name of the same variable.
        kept.pop("UV_INDEX_URL", None)
        kept["UV_DEFAULT_INDEX"] = index_url
    settings: dict[str, Any] = {}
    for path in files_of_uv():
        merge(settings, tomllib.loads(path.read_text("utf-8")))
    pip = settings.pop("pip", {})
    path = os.path.join(folder, "uv.toml")
    with open(path, "w", encoding="utf-8") as file:
        file.write(as_toml(settings) + "[pip]\n" + as_toml(pip))
    return {**without("UV_"), **kept, "UV_CONFIG_FILE": path}


def files_of_uv() -> list[Path]:
    """The files uv would read, see https://docs.astral.sh/uv/concepts/configuration-files/.

    Earlier ones take precedence.
    """
    if named := os.environ.get("UV_CONFIG_FILE"):
        return [Path(named)]
    if os.environ.get("UV_NO_CONFIG", "").lower() in ("1", "true", "t", "yes", "y", "on"):
        return []
    own = Path(os.environ.get("XDG_CONFIG_HOME") or os.path.expanduser("~/.config"))
    folders = (os.environ.get("XDG_CONFIG_DIRS") or "/etc/xdg").split(os.pathsep)
    common = [Path(folder) / "uv" / "uv.toml" for folder in (*folders, "/etc")]
    found = [path for path in common if path.is_file()]
    # The ~ stays for an account without a home, as in containers.
    owns = [own / "uv" / "uv.toml"] if own.is_absolute() else []
    return [path for path in (*owns, *found[:1]) if path.is_file()]


def merge(settings: dict[str, Any], more: dict[str, Any]) -> None:
    """Add the kept settings of another file: lists are extended, other values stay."""
    for name, value in more.items():
        if name == "pip" and isinstance(value, dict):
            merge(settings.setdefault("pip", {}), value)
        elif name in UV_KEEPS and name not in settings:
            settings[name] = value
        elif name in UV_KEEPS and isinstance(value, list):
            settings[name] += value


def as_toml(settings: dict[str, Any]) -> str:
    return "".join(f"{name} = {written(value)}\n" for name, value in settings.items())


def written(value: Any) -> str:
    """Return a value as TOML, whose strings, numbers and lists are those of JSON."""
    if isinstance(value, list):
        return f"[{', '.join(map(written, value))}]"
    if isinstance(value, dict):
        inner = ", ".join(f"{json.dumps(name)} = {written(each)}" for name, each in value.items())
        return f"{{{inner}}}"
    # JSON writes DEL as it is, and TOML forbids it in a string.
    return json.dumps(value, ensure_ascii=False).replace("\x7f", "\\u007f")


def main() -> int:
    tool, *words = sys.argv[1:]
    facts = json.loads(sys.stdin.read() or "{}")
    index_url, netrc = facts.get("index_url", ""), facts.get("netrc", "")
    if tool == "pip":
        command = next(word for word in words if not word.startswith("-"))
        return run([*PIP, *words], for_pip(command, index_url), netrc)
    if tool.endswith(".pyz"):
        # Read instead of the account's virtualenv.ini.
        environment = {**without("VIRTUALENV_"), "VIRTUALENV_CONFIG_FILE": os.devnull}
        return run([sys.executable, "-I", "-X", "utf8", tool, *words], environment)
    with tempfile.TemporaryDirectory() as folder:
        return run([tool, *words], for_uv(folder, index_url), netrc)


def run(command: list[str], environment: dict[str, str], netrc: str = "") -> int:
    sys.stdout.flush()
    if not netrc:
        code = subprocess.run(command, env=environment, stdin=subprocess.DEVNULL).returncode
        return code if code >= 0 else 128 - code
    with in_memory(own_netrc() + netrc.encode()) as file:
        # By our process: pip fetches what a build needs in processes that inherit no descriptor.
        environment = {**environment, "NETRC": f"/proc/{os.getpid()}/fd/{file.fileno()}"}
        return run(command, environment)


def in_memory(content: bytes) -> IO[bytes]:
    file = open(os.memfd_create("netrc"), "w+b")  # noqa: SIM115
    file.write(content)
    file.flush()
    return file


def own_netrc() -> bytes:
    """What the account itself has for other hosts."""
    try:
        path = os.environ.get("NETRC") or os.path.expanduser("~/.netrc")
        return Path(path).read_bytes().rstrip() + b"\n"
    except OSError:
        return b""


if __name__ == "__main__":
    sys.exit(main())
