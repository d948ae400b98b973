"""Our programs on servers: one zip file, compiled for the Python of the worker."""

import io
import subprocess
import sys
import zipfile
from importlib.util import MAGIC_NUMBER
from pathlib import Path

import pytest

from deploy_manager.recipes.processes import processes_archive
from deploy_manager.recipes.shipping import zipped

SOURCES = {
    "prog/__init__.py": b"",
    "prog/part.py": b"NAME = __file__",
    "__main__.py": b"from prog.part import NAME\nprint(NAME)\n",
}


def run(folder: Path, content: bytes) -> str:
    program = folder / "program.pyz"
    program.write_bytes(content)
    words = [sys.executable, "-I", "-S", str(program)]
    return subprocess.run(words, capture_output=True, text=True, check=True).stdout.strip()


def test_its_modules_come_compiled(tmp_path: Path) -> None:
    assert run(tmp_path, zipped(SOURCES)).endswith("program.pyz/prog/part.pyc")


def test_another_version_of_python_reads_the_sources(tmp_path: Path) -> None:
    other = zipped(SOURCES).replace(MAGIC_NUMBER, bytes(reversed(MAGIC_NUMBER)))
    fixed = io.BytesIO()
    with zipfile.ZipFile(io.BytesIO(other)) as found, zipfile.ZipFile(fixed, "w") as archive:
        for entry in found.infolist():
            archive.writestr(entry.filename, read_unchecked(found, entry))
    assert run(tmp_path, fixed.getvalue()).endswith("program.pyz/prog/part.py")


def read_unchecked(archive: zipfile.ZipFile, entry: zipfile.ZipInfo) -> bytes:
    """Return a file's content, whatever its checksum is."""
    with archive.open(entry) as file:
        file._expected_crc = None  # type: ignore[attr-defined]
        return file.read()


@pytest.mark.parametrize("seed", ["1", "2"])
def test_it_is_the_same_in_each_process(seed: str) -> None:
    """Else it would be sent again by each worker."""
    code = (
        "import sys, hashlib, django, json, http.server\n"
        "from django.conf import settings\n"
        "settings.configure(INSTALLED_APPS=['django.contrib.auth', 'django.contrib.contenttypes',"
        " 'deploy_manager'])\n"
        "django.setup()\n"
        "from deploy_manager.recipes.processes import processes_archive\n"
        "sys.stdout.buffer.write(processes_archive())\n"
    )
    words = [sys.executable, "-c", code]
    made = subprocess.run(words, capture_output=True, check=True, env={"PYTHONHASHSEED": seed})
    assert made.stdout == processes_archive()
