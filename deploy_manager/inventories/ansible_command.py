"""Run Ansible's own `ansible-inventory` on a file, so that nothing in the file is ever run.

All calls go through `list_hosts`. Only the two plugins that read static files are enabled, so that
neither a script nor the configuration of another plugin is taken for one; no configuration, no
variables beside the file and no password is found; and templates are printed as they are written.
"""

import json
import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

from django.utils.translation import gettext_noop as _

from deploy_manager.exceptions import InventoryError
from deploy_manager.logs import mask_text, plain

PROGRAM = "ansible-inventory"
TIMEOUT = 20.0
"""Seconds: 200 servers take less than one, and the page of the import waits for it."""

LARGEST = 2 * 1024 * 1024
"""Bytes of a file; 1,000 servers with some variables are a tenth of that."""

LIMITS = "ulimit -v 600000; ulimit -t 15; ulimit -f 131072; ulimit -c 0"
"""KiB of memory, seconds of a processor, blocks of 512 bytes of output, no core dump.

What is small in a file may be huge once its ranges or its aliases are written out.
"""

LONGEST_REASON = 500


def list_hosts(text: str, plugin: str, name: str) -> dict[str, Any]:
    """Return what Ansible reads in a file, by its plugin `ini` or `yaml`.

    Raises InventoryError, with Ansible's own words if it can't read the file.
    """
    data = text.encode(errors="replace")
    if len(data) > LARGEST:
        raise InventoryError(
            _("The file is larger than %(most)s MiB: split it."), most=LARGEST // 1024**2
        )
    with tempfile.TemporaryDirectory(prefix="deploy_manager-") as made:
        folder = Path(made)
        file = folder / "given" / name
        file.parent.mkdir()
        file.touch(mode=0o600)
        file.write_bytes(data)
        (folder / "ansible.cfg").touch()
        return _run([_find(), "-i", str(file), "--list"], folder, plugin)


def _find() -> str:
    """Return the program: that of this Python's environment, or one on PATH."""
    beside = os.path.dirname(sys.executable)
    path = os.pathsep.join((beside, os.environ.get("PATH", os.defpath)))
    found = shutil.which(PROGRAM, path=path)
    if found is None:
        raise InventoryError(
            _(
                "Ansible's inventories are read by %(program)s, which is not installed here. "
                "Install the extra: pip install 'deploy-manager[ansible]'. Or run "
                "%(program)s --list where Ansible is, and import what it prints."
            ),
            program=PROGRAM,
        )
    return found


def _run(command: list[str], folder: Path, plugin: str) -> dict[str, Any]:
    out = folder / "out.json"
    with out.open("wb") as stdout:
        try:
            done = subprocess.run(
                ["sh", "-c", f'{LIMITS}; exec "$0" "$@"', *command],
                cwd=folder,
                env=_variables(folder, plugin),
                stdin=subprocess.DEVNULL,
                stdout=stdout,
                stderr=subprocess.PIPE,
                timeout=TIMEOUT,
                check=False,
            )
        except subprocess.TimeoutExpired:
            raise InventoryError(
                _("Ansible did not read the file within %(seconds)s seconds."),
                seconds=f"{TIMEOUT:g}",
            ) from None
    if b"MemoryError" in done.stderr:
        raise InventoryError(
            _("The file is too large for Ansible once its ranges and aliases are written out.")
        )
    if done.returncode != 0:
        raise InventoryError(
            _("Ansible can't read the file: %(why)s"), why=_reason(done.stderr, folder)
        )
    try:
        listed = json.loads(out.read_bytes())
    except (ValueError, RecursionError):
        listed = None
    if not isinstance(listed, dict):
        raise InventoryError(_("Ansible printed no inventory for this file."))
    return listed


def _variables(folder: Path, plugin: str) -> dict[str, str]:
    """Return the whole environment of the program; nothing of this process's own is passed on."""
    nothing = str(folder / "nothing")
    return {
        "PATH": os.environ.get("PATH", os.defpath),
        "LANG": "C.UTF-8",
        "LC_ALL": "C.UTF-8",
        "HOME": str(folder),
        "TMPDIR": str(folder),
        "ANSIBLE_CONFIG": str(folder / "ansible.cfg"),
        "ANSIBLE_HOME": str(folder / "home"),
        "ANSIBLE_LOCAL_TEMP": str(folder / "tmp"),
        "ANSIBLE_INVENTORY_ENABLED": plugin,
        "ANSIBLE_INVENTORY_ANY_UNPARSED_IS_FAILED": "1",
        "ANSIBLE_VARS_ENABLED": "",
        "ANSIBLE_TRANSFORM_INVALID_GROUP_CHARS": "ignore",
        "ANSIBLE_NOCOLOR": "1",
        "ANSIBLE_LOCALHOST_WARNING": "0",
        "ANSIBLE_DEVEL_WARNING": "0",
        **dict.fromkeys(
            (
                *("ANSIBLE_COLLECTIONS_PATH", "ANSIBLE_INVENTORY_PLUGINS", "ANSIBLE_VARS_PLUGINS"),
                *("ANSIBLE_LOOKUP_PLUGINS", "ANSIBLE_FILTER_PLUGINS", "ANSIBLE_TEST_PLUGINS"),
                *("ANSIBLE_CACHE_PLUGINS", "ANSIBLE_CALLBACK_PLUGINS", "ANSIBLE_ROLES_PATH"),
            ),
            nothing,
        ),
    }


def _reason(stderr: bytes, folder: Path) -> str:
    """Return Ansible's explanation in one line, without the names of our folders."""
    text = mask_text(plain(stderr[:20_000].decode(errors="replace")))
    text = text.replace(f"{folder}/given/", "").replace(str(folder), "")
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    told = [line for line in lines if not line.startswith(("[WARNING]", "<<<", "Traceback"))]
    return " ".join(dict.fromkeys(told or lines))[:LONGEST_REASON]
