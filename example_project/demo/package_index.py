"""A package index of plain files: the pins of the site, and several versions of a demo package."""

import base64
import hashlib
import html
import io
import subprocess
import sys
import zipfile
from dataclasses import replace
from pathlib import Path

from deploy_manager.requirements.pins import lock_text
from deploy_manager.requirements.reading import read_pins

KIT = "greetings"
FILLED = "requirements.txt"
"""A file that is in the folder once everything it names is."""

GREETS = "def greet() -> str:\n    return '{}'\n"
FAILS = "def greet() -> str:\n    raise RuntimeError('{} greets nobody')\n"


class NotFilled(Exception):  # noqa: N818  named after the event
    """pip failed; the message says what to do."""


def fill(folder: Path, requirements: Path) -> None:
    """Download the wheels of a full set of pins into the index, from pip's own index.

    Continues after an interrupted demo. Raises NotFilled.
    """
    # Those for other platforms, too: the resolver looks at them when it resolves the pins anew.
    known = read_pins(requirements.read_text())
    pins = [replace(pin, marker="") for pin in known if pin.name != KIT]
    folder.mkdir(parents=True, exist_ok=True)
    everything = folder / "incomplete.txt"
    everything.write_text(lock_text(pins))
    options = ["download", "--quiet", "--no-deps", "--only-binary=:all:"]
    target = ["--dest", str(folder / "files"), "--requirement", str(everything)]
    pip = [sys.executable, "-m", "pip", "--disable-pip-version-check"]
    done = subprocess.run([*pip, *options, *target], check=False, stdin=subprocess.DEVNULL)
    if done.returncode:
        raise NotFilled(
            f"pip could not download the pins of {requirements} (exit code {done.returncode}): see"
            " its output above, and start the demo again."
        )
    _list(folder)
    everything.rename(folder / FILLED)


def is_filled(folder: Path) -> bool:
    """Return whether `fill` has completed there."""
    return (folder / FILLED).exists()


def publish(folder: Path, version: str, *, is_broken: bool = False) -> str:
    """Put a version of the demo package into the index; return its hash."""
    file = folder / "files" / f"{KIT}-{version}-py3-none-any.whl"
    if not file.exists():
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_bytes(_wheel(version, (FAILS if is_broken else GREETS).format(version)))
    _list(folder)
    return f"sha256:{hashlib.sha256(file.read_bytes()).hexdigest()}"


def _list(folder: Path) -> None:
    """Write the pages of https://packaging.python.org/en/latest/specifications/simple-repository-api/."""
    for file in (folder / "files").glob("*.whl"):
        name = file.name.partition("-")[0].lower().replace("_", "-")
        page = folder / "simple" / name / "index.html"
        page.parent.mkdir(parents=True, exist_ok=True)
        links = []
        for each in sorted((folder / "files").glob(f"{file.name.partition('-')[0]}-*.whl")):
            escaped, digest = html.escape(each.name), hashlib.sha256(each.read_bytes()).hexdigest()
            links.append(f'<a href="../../files/{escaped}#sha256={digest}">{escaped}</a><br>\n')
        page.write_text("".join(links))


def _wheel(version: str, code: str) -> bytes:
    info = f"{KIT}-{version}.dist-info"
    files = {
        f"{KIT}.py": code,
        f"{info}/METADATA": f"Metadata-Version: 2.1\nName: {KIT}\nVersion: {version}\n",
        f"{info}/WHEEL": "Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n",
    }
    record = ""
    for name, text in files.items():
        # Base64 for URLs, without its padding: PEP 376 and PEP 427.
        digest = base64.urlsafe_b64encode(hashlib.sha256(text.encode()).digest()).rstrip(b"=")
        record += f"{name},sha256={digest.decode()},{len(text.encode())}\n"
    content = io.BytesIO()
    with zipfile.ZipFile(content, "w") as archive:
        for name, text in {**files, f"{info}/RECORD": f"{record}{info}/RECORD,,\n"}.items():
            # ZipInfo has a fixed date: the same version has the same hash in every demo.
            archive.writestr(zipfile.ZipInfo(name), text)
    return content.getvalue()
