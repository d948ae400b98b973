"""gunicorn for the release that is current: `processes.pyz serve <deploy path>`.

On a reload gunicorn executes this program again, which then finds the new release: its code, its
virtual environment, its variables. Everything is taken from the release that is current when the
process starts, so that an old process never imports new code, whatever happens to `current` later.
"""

from __future__ import annotations

import os
import sys

from .gunicorn import Gunicorn
from .launch import NAMES_SET, environment_for
from .place import Facts, Place, find_deployed
from .wanted import Process, wanted_here


def serve(path: str) -> None:
    """Run gunicorn for the process that hands over. Ends with the reason if there is none."""
    place, facts = find_deployed(path)
    process = next((each for each in wanted_here(facts, place) if each.hands_over), None)
    if process is None:
        sys.exit(f"{path} has no process in release {place.release} that gunicorn serves.")
    _begin_again_with_its_variables(process, place, facts)
    # A master inherits its predecessor's umask, which the site may have changed.
    os.umask(0o022)
    # gunicorn returns here before it starts its successor: the release's folder may be gone then.
    os.chdir(place.path)
    os.environ["PWD"] = place.path
    sys.path[:] = _pinned(sys.path, place)
    if "GUNICORN_PID" not in os.environ:
        # Not a successor. What is left of a pid file, by a power cut, would keep it from starting
        # once its number is another process's.
        Gunicorn(place, process.bind).forget_the_dead()
    # gunicorn must not rename its processes with setproctitle: they are recognised by their
    # command line. The site itself may import it.
    sys.modules["setproctitle"] = None  # type: ignore[assignment]
    from .gunicorn_app import Server

    del sys.modules["setproctitle"]
    Server(process, place, facts).run()


def _begin_again_with_its_variables(process: Process, place: Place, facts: Facts) -> None:
    """Execute this program again unless it was started with the variables of this release.

    Some count only at the start of an interpreter, like PYTHONPATH. A successor gets those of the
    gunicorn before it, whose release may have had others.
    """
    environment = environment_for(process, place, facts)
    names = environment[NAMES_SET].split()
    if any(os.environ.get(name) != environment[name] for name in names):
        os.chdir(place.code)  # a relative PYTHONPATH is meant from there
        os.execve(sys.executable, [sys.executable, *sys.argv], environment)


def _pinned(paths: list[str], place: Place) -> list[str]:
    """Return an import path without links through `current`, and without our own program."""
    through = place.current + os.sep
    own = (place.program, os.path.realpath(place.program))
    return [os.path.realpath(p) if p.startswith(through) else p for p in paths if p not in own]
