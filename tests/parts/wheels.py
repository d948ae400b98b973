"""Small real packages, made in memory: wheels and sdists."""

import base64
import hashlib
import io
import tarfile
import zipfile
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

from packaging.utils import canonicalize_name
from packaging.version import Version

FIRST_MOMENT = (1980, 1, 1, 0, 0, 0)
"""The oldest a file of a zip can be: the same content makes the same bytes."""


@dataclass(frozen=True)
class Package:
    """What a wheel or an sdist is made of; without `modules`: one that tells its version."""

    name: str
    version: str
    requires: tuple[str, ...] = ()
    requires_python: str = ""
    modules: Mapping[str, str] = field(default_factory=dict)
    """Texts by the path of the file, like `shop/__init__.py`."""

    @property
    def stem(self) -> str:
        """As https://packaging.python.org/en/latest/specifications/binary-distribution-format/."""
        return f"{self.module}-{Version(self.version)}"

    @property
    def module(self) -> str:
        return canonicalize_name(self.name).replace("-", "_")

    @property
    def metadata(self) -> str:
        lines = ["Metadata-Version: 2.1", f"Name: {self.name}", f"Version: {self.version}"]
        if self.requires_python:
            lines.append(f"Requires-Python: {self.requires_python}")
        lines += [f"Requires-Dist: {one}" for one in self.requires]
        return "\n".join(lines) + "\n"

    @property
    def files(self) -> Mapping[str, str]:
        return self.modules or {f"{self.module}/__init__.py": f'VERSION = "{self.version}"\n'}


def wheel(package: Package) -> tuple[str, bytes]:
    """Return the name and the content of a wheel for every Python 3."""
    folder = f"{package.stem}.dist-info"
    files = {
        **package.files,
        f"{folder}/METADATA": package.metadata,
        f"{folder}/WHEEL": "Wheel-Version: 1.0\nGenerator: tests\n"
        "Root-Is-Purelib: true\nTag: py3-none-any\n",
    }
    files[f"{folder}/RECORD"] = _record(files, f"{folder}/RECORD")
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        for name, text in files.items():
            info = zipfile.ZipInfo(name, FIRST_MOMENT)
            info.external_attr = 0o644 << 16
            archive.writestr(info, text)
    return f"{package.stem}-py3-none-any.whl", buffer.getvalue()


def sdist(package: Package) -> tuple[str, bytes]:
    """Return the name and the content of an sdist that setuptools builds, unless it has its own."""
    files = {
        "PKG-INFO": package.metadata,
        "pyproject.toml": _project_file(package),
        **package.files,
    }
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w:gz") as archive:
        for name, text in files.items():
            info = tarfile.TarInfo(f"{package.stem}/{name}")
            info.size = len(text.encode())
            archive.addfile(info, io.BytesIO(text.encode()))
    return f"{package.stem}.tar.gz", buffer.getvalue()


def _record(files: Mapping[str, str], own: str) -> str:
    lines = []
    for name, text in files.items():
        digest = base64.urlsafe_b64encode(hashlib.sha256(text.encode()).digest()).rstrip(b"=")
        lines.append(f"{name},sha256={digest.decode()},{len(text.encode())}\n")
    return "".join([*lines, f"{own},,\n"])


def _project_file(package: Package) -> str:
    lines = [
        "[build-system]",
        'requires = ["setuptools"]',
        'build-backend = "setuptools.build_meta"',
        "[project]",
        f'name = "{package.name}"',
        f'version = "{package.version}"',
        f"dependencies = {_array(package.requires)}",
    ]
    if package.requires_python:
        lines.append(f'requires-python = "{package.requires_python}"')
    folders = {path.partition("/")[0] for path in package.files if "/" in path}
    single = {path.removesuffix(".py") for path in package.files if "/" not in path}
    lines += ["[tool.setuptools]", f"packages = {_array(sorted(folders))}"]
    lines.append(f"py-modules = {_array(sorted(single))}")
    return "\n".join(lines) + "\n"


def _array(values: Iterable[str]) -> str:
    """As TOML writes an array; a literal string, since markers have double quotes."""
    return "[" + ", ".join(f"'''{one}'''" for one in values) + "]"
