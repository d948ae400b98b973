"""Starting a command: sh in a session of its own, with pipes for what it prints.

As subprocess does it, whose import takes longer than most of the commands that are started here.
"""

from __future__ import annotations

import os

from .lean import signal

CANT_RUN = 127


def start(script: str, stdin: int | None, home: str, variables: dict[str, str]) -> list[int]:
    """Return its process id, and the pipes of its output and of its errors. Raises OSError."""
    # Made for this process alone (PEP 446): the command gets its own copies, by dup2.
    ends = [*os.pipe(), *os.pipe(), *os.pipe()]
    out, to_out, err, to_err, said, to_say = ends
    try:
        child = os.fork()
    except OSError:
        _close(ends)
        raise
    if not child:
        _become(script, [stdin, to_out, to_err], home, variables, to_say)
    _close([to_out, to_err, to_say])
    # Nothing is said once sh runs: that closes the pipe.
    why = os.read(said, 16)
    os.close(said)
    if why:
        os.waitpid(child, 0)
        _close([out, err])
        raise OSError(int(why), os.strerror(int(why)))
    return [child, out, err]


def _become(
    script: str, streams: list[int | None], home: str, variables: dict[str, str], to_say: int
) -> None:
    """Become sh in this process, which was forked for it; it never returns."""
    try:
        os.setsid()
        os.chdir(home)
        for number, stream in enumerate(streams):
            os.dup2(os.open(os.devnull, os.O_RDONLY) if stream is None else stream, number)
        # Ignored by Python, and by all that it starts otherwise.
        for each in (signal.SIGPIPE, signal.SIGXFSZ):
            signal.signal(each, signal.SIG_DFL)
        os.execve("/bin/sh", ["/bin/sh", "-c", script], variables)
    except OSError as error:
        os.write(to_say, str(error.errno).encode())
    finally:
        os._exit(CANT_RUN)


def _close(ends: list[int]) -> None:
    for end in ends:
        os.close(end)
