"""Do several things with one loaded project, each in a process of its own.

Runs in the project, by its `manage.py shell`. `given` is JSON: parts, a list of name, script,
source and facts. Each part is a script that reads its facts as JSON from stdin. It runs in a fork
of this process: what it changes in settings or modules, or that it ends the interpreter, is of no
consequence for the parts after it. After each part a line is printed: MARK, the part's name, a
blank, and as JSON its exit code, stdout and stderr. A part that fails is the last one.

A part that is alone needs no fork, and no line. A project that has threads, sockets or open
databases once it is loaded can't be forked safely. Then only the first part is run, in this
process, and no line is printed for the others.
"""

from __future__ import annotations

import atexit
import gc
import json
import logging
import os
import stat
import sys
import tempfile
import threading
from contextlib import suppress
from typing import IO, Any, NoReturn

MARK = "\x1e"
KEPT_BYTES = 100_000
"""Of each stream: its end, which says why a part failed."""


def may_fork() -> bool:
    """Whether a fork would have all that this process has, and share nothing with it."""
    # By the kernel: threading does not know the threads of C libraries.
    if len(os.listdir("/proc/self/task")) > 1 or has_socket():
        return False
    from django.db import connections

    opened = connections.all(initialized_only=True)
    return all(connection.connection is None for connection in opened)


def has_socket() -> bool:
    for name in os.listdir("/proc/self/fd"):
        # Standard input and output were given to us, and say nothing about the project.
        if int(name) > 2:
            with suppress(OSError):  # the folder that is listed
                if stat.S_ISSOCK(os.fstat(int(name)).st_mode):
                    return True
    return False


def run(part: dict[str, Any]) -> None:
    """Run a part here, and let its errors pass: what called us prints them and exits."""
    with tempfile.TemporaryFile() as facts:
        facts.write(json.dumps(part["facts"]).encode())
        facts.seek(0)
        os.dup2(facts.fileno(), 0)
    sys.stdin = open(0, closefd=False)  # noqa: SIM115
    code = compile(part["source"], part["script"], "exec")
    exec(code, {"__name__": "__main__"})  # noqa: S102


def run_in_fork(part: dict[str, Any]) -> int:
    """Run a part in a fork and print its line. Returns its exit code.

    In the fork an error passes: what called us prints it, as it would for a command of its own.
    """
    sys.stdout.flush()
    sys.stderr.flush()
    with tempfile.TemporaryFile() as out, tempfile.TemporaryFile() as err:
        child = os.fork()
        if child == 0:
            os.dup2(out.fileno(), 1)
            os.dup2(err.fileno(), 2)
            # What was registered while the project was loaded, such as the removal of a temporary
            # folder, is for the end of the process that all parts come from.
            atexit._clear()
            gc.enable()
            atexit.register(logging.shutdown)
            try:
                run(part)
            except SystemExit as ended:
                if ended.code:
                    raise
            leave()
        code = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
        code = code if code >= 0 else 128 - code
        answer = {"code": code, "stdout": end_of(out), "stderr": end_of(err)}
    os.write(1, f"{MARK}{part['name']} {json.dumps(answer)}\n".encode())
    return code


def leave() -> NoReturn:
    """End this process as an interpreter does, but leave its memory as it is.

    To free each object would copy all pages that are shared with another process.
    """
    from django.db import connections

    for thread in threading.enumerate():
        if thread is not threading.current_thread() and not thread.daemon:
            thread.join()
    connections.close_all()
    atexit._run_exitfuncs()
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(0)


def end_of(file: IO[bytes]) -> str:
    file.seek(max(0, file.seek(0, os.SEEK_END) - KEPT_BYTES))
    return file.read().decode(errors="replace")


def main(parts: list[dict[str, Any]]) -> None:
    if len(parts) == 1 or not may_fork():
        run(parts[0])
        return
    # A collection would write to, and so copy, the pages of all objects.
    gc.freeze()
    gc.disable()
    for part in parts:
        if code := run_in_fork(part):
            sys.exit(code)
    leave()


main(given["parts"])  # type: ignore[name-defined]  # noqa: F821
