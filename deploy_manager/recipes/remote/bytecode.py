"""Compile the modules of a virtual environment. Runs under its own Python, 3.8 or later.

Reads JSON: before, the path of the environment that serves (which may be missing), and compiles.
The bytecode of modules that are the same there, byte for byte, is copied and gets the modules' time
here. If `compiles`, all others are compiled, on every processor. A module that can't be compiled is
skipped, as pip and uv do: some packages contain templates of modules.
"""

from __future__ import annotations

import compileall
import filecmp
import json
import os
import struct
import sys
import sysconfig
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor
from functools import partial
from importlib.util import MAGIC_NUMBER, cache_from_source

HEADER = struct.Struct("<4sIII")
"""Magic number, kind (0: by time and size), time and size of the source (PEP 552)."""

FEW = 50
"""Up to this many modules, starting processes takes longer than compiling."""

SERVES_NOTHING = "pip"
"""A package that is not compiled as a whole: little of it runs, and Python compiles that."""

compile_one = partial(compileall.compile_file, quiet=2)


def folders() -> list[str]:
    """The folders of the environment's packages; lib64 may be a link to lib."""
    paths = sysconfig.get_paths()
    return list(dict.fromkeys(os.path.realpath(paths[kind]) for kind in ("purelib", "platlib")))


def modules(folder: str) -> Iterator[str]:
    for parent, _folders, names in os.walk(folder):
        yield from (os.path.join(parent, name) for name in names if name.endswith(".py"))


def take_over(source: str, before: str) -> bool:
    """Copy the bytecode of a module from before; False if that is not possible."""
    try:
        now, then = os.stat(source), os.stat(before)
        with open(cache_from_source(before), "rb") as file:
            compiled = file.read()
        if not compiled.startswith(header(then)) or not is_same(source, now, before, then):
            return False
        target = cache_from_source(source)
        os.makedirs(os.path.dirname(target), exist_ok=True)
        with open(target, "wb") as file:
            file.write(header(now) + compiled[HEADER.size :])
    except OSError:
        return False
    return True


def header(source: os.stat_result) -> bytes:
    """The start of a compiled module of this Python with this source."""
    # As Python cuts them: both fields have 32 bits.
    time, size = int(source.st_mtime) & 0xFFFFFFFF, source.st_size & 0xFFFFFFFF
    return HEADER.pack(MAGIC_NUMBER, 0, time, size)


def is_same(source: str, now: os.stat_result, before: str, then: os.stat_result) -> bool:
    if os.path.samestat(now, then):
        return True
    return now.st_size == then.st_size and filecmp.cmp(source, before, shallow=False)


def compile_all(sources: list[str]) -> None:
    if len(sources) > FEW:
        try:
            with ProcessPoolExecutor() as pool:
                list(pool.map(compile_one, sources, chunksize=16))
            return
        except (ImportError, NotImplementedError, OSError):
            pass  # no semaphores here, as in some containers: one after the other, then
    for source in sources:
        compile_one(source)


def left_to_compile(folder: str, before: str) -> list[str]:
    """Copy bytecode from `before`; return the modules left to compile."""
    return [
        source
        for source in modules(folder)
        if not take_over(source, os.path.join(before, os.path.relpath(source, folder)))
        and os.path.relpath(source, folder).split(os.sep)[0] != SERVES_NOTHING
    ]


def main() -> None:
    facts = json.load(sys.stdin)
    left = []
    for folder in folders():
        inside = os.path.relpath(folder, os.path.realpath(sys.prefix))
        left += left_to_compile(folder, os.path.join(facts["before"], inside))
    if facts["compiles"]:
        compile_all(left)
        print(f"Compiled {len(left)} modules; the others are as in the environment that serves.")


if __name__ == "__main__":
    main()
