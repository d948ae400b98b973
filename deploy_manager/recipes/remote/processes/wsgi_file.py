"""The site for servers that take a WSGI file, as mod_wsgi does: `site.wsgi`.

They give no variables to the site and can't tell which release answers: this file does both. It
stands beside `current`, and is touched when another release is to be served.
"""

from __future__ import annotations

import os
import site
import sys
from typing import TYPE_CHECKING

from .application import find_application, load_application
from .launch import environment_for
from .place import Place, find_deployed, write
from .wanted import Process

if TYPE_CHECKING:
    from .wrapped import WSGI

NAME = "site.wsgi"
TEXT = """\
# Written by deploy_manager: changes here are lost.
import sys

sys.path.insert(0, {program!r})
from deploy_manager_processes.wsgi_file import application_of

sys.path.remove({program!r})
application = application_of({path!r})
"""


def write_wsgi_file(place: Place) -> None:
    """Write the file. Who serves it has to run as this account: its variables are private."""
    program = os.path.realpath(place.program)
    text = TEXT.format(program=program, path=place.path)
    write(os.path.join(place.path, NAME), text, 0o644)


def application_of(path: str) -> WSGI:
    """Return the application of the release that is current, in its own virtual environment."""
    from .wrapped import WSGI  # late: a deployment writes the file and serves nothing

    place, facts = find_deployed(path)
    os.environ.update(environment_for(Process("web", "wsgi"), place, facts))
    os.chdir(place.code)
    version = f"python{sys.version_info[0]}.{sys.version_info[1]}"
    before = list(sys.path)
    site.addsitedir(os.path.join(place.venv, "lib", version, "site-packages"))
    added = [each for each in sys.path if each not in before]
    sys.path[:] = [place.code, *added, *before]
    name = find_application(facts["wsgi"], "WSGI_APPLICATION", "wsgi")
    return WSGI(load_application(name), place)
