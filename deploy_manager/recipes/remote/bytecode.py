"""Have the modules of a virtual environment compiled. Runs by its own Python, 3.8 or later.

Reads JSON: before, the path of the environment that serves (it may not be there), and compiles.
What that one has compiled of a module which is the same here, byte for byte, is taken over, under
the time that the module has here. If `compiles`, all else is compiled, by every processor. What
can't be is left, as pip and uv leave it: there are packages with templates of modules.
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
"""Magic number, kind (0: by time and size), time and size of the source: see PEP 552."""

FEW = 50
"""Modules that are compiled sooner than other processes are started."""

SERVES_NOTHING = "pip"
"""A package that is never compiled as a whole: it compiles what it runs of itself."""

compile_one = partial(compileall.compile_file, quiet=2)


def folders() -> list[str]:
    """Where the environment has its packages; without what a link leads to."""
    paths = sysconfig.get_paths()
    return list(dict.fromkeys(os.path.realpath(paths[kind]) for kind in ("purelib", "platlib")))


def modules(folder: str) -> Iterator[str]:
    for parent, _folders, names in os.walk(folder):
        yield from (os.path.join(parent, name) for name in names if name.endswith(".py"))


def take_over(source: str, before: str) -> bool:
    """Take over what was compiled of a module before; False where it can't be."""
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
    """What a compiled module of this Python begins with while its source is as it is."""
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
            pass  # no semaphores here: one after the other, then
    for source in sources:
        compile_one(source)


def left_to_compile(folder: str, before: str) -> list[str]:
    """Take over what can be in a folder of packages, from where another one has it."""
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
