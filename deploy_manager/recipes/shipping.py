"""Sending scripts and tools to a server: once, then found again by name and content."""

import hashlib
import io
import json
import marshal
import shlex
import zipfile
from collections.abc import Mapping, Sequence
from functools import lru_cache
from importlib.resources import files
from importlib.util import MAGIC_NUMBER, source_hash
from pathlib import Path, PurePosixPath

from django.utils.translation import gettext_noop as _

from deploy_manager.exceptions import (
    CommandFailed,
    ConfigurationError,
    RecipeError,
    SecretUnreadable,
)
from deploy_manager.logins import explain, login_of_index
from deploy_manager.logs import mask_text
from deploy_manager.recipes.becoming_root import AsRoot
from deploy_manager.recipes.host import Host, Result, Site

HASH_CHARACTERS = 12
SHOWN_CHARACTERS = 2000
TOOL_RUNNER = "run_tool.py"
SHIPPED_LOCK = "shipped.lock"
PLAIN = ("-I", "-S", "-X", "utf8")
"""Options of a Python that needs its standard library only: it starts in half of the time, and no
variable, .pth file or sitecustomize of the account takes part."""

WHEELS = "wheels"
"""The folder of wheels beside an environment, for servers without an index."""


def ship(host: Host, site: Site, name: str) -> str:
    """Return the server's path of `recipes/remote/<name>`, which is sent there if it is missing.

    The path contains a hash of the content, so that a running script is never overwritten. The file
    there is compared each time, and replaced if it differs.
    """
    content = remote_script(name)
    return _send_once(host, site, content, shipped_name(name, content), 0o644)


def ship_file(host: Host, site: Site, file: Path, name: str = "", mode: int = 0o644) -> str:
    """Return the server's path of a local file, which is sent there if it is missing.

    `name` (default: the file's own) must contain the version, since the file is found by it.
    """
    return _send_once(host, site, file, name or file.name, mode)


def _send_once(host: Host, site: Site, content: bytes | Path, name: str, mode: int) -> str:
    path = f"{site.tools_path}/{name}"
    file = shlex.quote(path)
    # The account's own file, not a link, with this content: anything else is replaced.
    is_there = (
        f"{make_tools_folder(site)} && [ -f {file} ] && [ ! -L {file} ] && [ -O {file} ]"
        f' && [ "$(sha256sum <{file})" = "{_sha256_of(content)}  -" ]'
    )
    if not host.run(is_there, check=False, quiet=True, assume=1).ok:
        host.put(content, path, mode)
    return path


def make_tools_folder(site: Site) -> str:
    """Return a line of sh that creates the private folder of our own files."""
    return f"mkdir -p -m 700 -- {shlex.quote(site.tools_path)}"


def _sha256_of(content: bytes | Path) -> str:
    if isinstance(content, bytes):
        return hashlib.sha256(content).hexdigest()
    facts = content.stat()
    return _sha256_of_file(content, facts.st_size, facts.st_mtime_ns)


@lru_cache(maxsize=64)
def _sha256_of_file(path: Path, size: int, mtime_ns: int) -> str:
    """Size and time are part of the cache's key: a changed file is read again."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def run_shipped(
    host: Host,
    site: Site,
    name: str,
    facts: Mapping[str, object],
    timeout: float | None = None,
) -> Result:
    """Run one of our scripts with the server's Python; it reads `facts` from stdin as JSON.

    `timeout` is in seconds, as for Host.run. Raises CommandFailed with the script's own message.
    """
    content = remote_script(name)
    return run_program(host, site, content, shipped_name(name, content), facts, timeout)


def run_program(
    host: Host,
    site: Site,
    content: bytes,
    name: str,
    facts: Mapping[str, object],
    timeout: float | None = None,
    as_root: AsRoot | None = None,
) -> Result:
    """As `run_shipped`, for a program of this content, which is sent under this name.

    `as_root` is how it becomes root's, if it has to.
    """
    root = as_root or AsRoot()
    program = _send_once(host, site, content, name, 0o644)
    command = [*root.words, site.python, *PLAIN, program]
    stdin = root.stdin + json.dumps(facts).encode()
    result = host.run(command, stdin=stdin, timeout=timeout, check=False)
    if not result.ok:
        if said := result.stderr.strip():
            raise CommandFailed(_shortened(said), result.exit_code)
        raise CommandFailed(
            _("%(name)s ended with exit code %(number)d."),
            exit_code=result.exit_code,
            name=name,
            number=result.exit_code,
        )
    return result


def _shortened(said: str) -> str:
    """Return the first line, which is the reason, and the end of what follows: of a log mostly."""
    reason, _newline, more = said.partition("\n")
    return f"{reason[:SHOWN_CHARACTERS]}\n{more[-SHOWN_CHARACTERS:]}".strip()


def said_by(result: Result) -> str:
    """Return why a script ended: its last words, or those of whatever stopped it."""
    # Masked first: what is cut may be a secret.
    said = mask_text(result.stderr.strip() or result.stdout.strip())[-SHOWN_CHARACTERS:]
    return said or f"exit code {result.exit_code}"


def run_tool(host: Host, site: Site, python: str, words: Sequence[str]) -> None:
    """Run pip, uv or virtualenv, ignoring the account's own options for installing.

    `python` runs pip; the site's index, if it has one, never appears on a command line.
    """
    script = ship(host, site, TOOL_RUNNER)
    host.run(tool_command(python, script, words), stdin=tool_facts(site, words))


def tool_command(python: str, script: str, words: Sequence[str]) -> list[str]:
    """Return the words that run a tool through `run_tool.py`, which is at `script`."""
    return [python, "-I", "-X", "utf8", script, *words]


def tool_facts(site: Site, words: Sequence[str]) -> bytes:
    """Return the input of `run_tool.py`. Raises RecipeError if a login can't be opened here."""
    login = login_of_index(site.index_url)
    asks = {"install", "wheel"} & set(words) and "--no-index" not in words
    # In a dry run nothing is opened.
    if login is None or not asks or not site.may_fetch:
        return json.dumps({"index_url": site.index_url}).encode()
    try:
        netrc = login.netrc().value
    except (ConfigurationError, SecretUnreadable) as error:
        raise RecipeError(explain(login.name, error)) from None
    return json.dumps({"index_url": site.index_url, "netrc": netrc}).encode()


def remote_script(name: str) -> bytes:
    """Return the content of `recipes/remote/<name>`."""
    return files("deploy_manager.recipes").joinpath("remote", name).read_bytes()


def remote_package(folder: str, package: str) -> dict[str, bytes]:
    """Return the modules of `recipes/remote/<folder>` by their paths, as those of a package."""
    here = files("deploy_manager.recipes").joinpath("remote", folder)
    modules = (each for each in here.iterdir() if each.name.endswith(".py"))
    return {f"{package}/{each.name}": each.read_bytes() for each in modules}


def zipped(sources: Mapping[str, bytes]) -> bytes:
    """Return files as one zip file that Python imports; the same content has the same hash.

    A Python of this version finds its modules compiled: nothing that is made when a zip file is
    imported is kept, and to compile them takes longer than what most of them do. Any other version
    passes over that, and reads their sources.
    """
    compiled = {f"{name}c": compiled_module(name, content) for name, content in sources.items()}
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        for name, content in sorted({**sources, **compiled}.items()):
            # ZipInfo has a fixed date (1980).
            archive.writestr(zipfile.ZipInfo(name), content)
    return buffer.getvalue()


def compiled_module(name: str, source: bytes) -> bytes:
    """Return a module as a .pyc of this Python, which is not compared with its source (PEP 552)."""
    # As a Python without options does, whatever those of this one are.
    code = compile(source, name, "exec", dont_inherit=True, optimize=0)
    unchecked = (1).to_bytes(4, "little")
    # Version 2 has no references, which depend on what else is in this process's memory.
    return MAGIC_NUMBER + unchecked + source_hash(source) + marshal.dumps(code, 2)


def shipped_name(name: str, content: bytes) -> str:
    """Return `<stem>-<hash><suffix>`."""
    digest = hashlib.sha256(content).hexdigest()[:HASH_CHARACTERS]
    parts = PurePosixPath(name)
    return f"{parts.stem}-{digest}{parts.suffix}"
