"""Ask a server what runs, or have it start what is down: without the database, nothing is sent.

The program that the last deployment left there answers, by the facts that it was given then.
"""

import json
import re
import shlex
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from django.utils.translation import gettext_noop as _

from deploy_manager.exceptions import RecipeError
from deploy_manager.hosts.address import Address
from deploy_manager.hosts.in_time import refuse_foreign, run_in_time, unless_foreign
from deploy_manager.logs import mask_text
from deploy_manager.messages import Message
from deploy_manager.models.shapes import fits
from deploy_manager.models.watches import LONGEST_MESSAGE, LONGEST_NAME
from deploy_manager.recipes import Result

TIMEOUT = 20.0
"""Seconds for a server's answer, connecting included."""

START_TIMEOUT = 180.0
"""The same for a start: a site may take a minute to load, and each process waits for the last."""

NOTHING_HERE, IN_USE = 44, 45
"""Exit codes of the program: nothing of ours runs there; a deployment, or another start, does."""

LONGEST_ANSWER = 400_000
"""Characters; a thousand processes fit."""

MOST_PROCESSES = 1000

_INSTANCE = {
    "name": str,
    "instance": str,
    "is_known": bool,
    "problem": str,
    "restarts": str,
    "releases": [str],
}
_ANSWER = {
    "release": str,
    "supervisor": str,
    "boot_id": str,
    "booted_at": range(2**33),
    "processes": [_INSTANCE],
}
_UNPRINTABLE = re.compile(r"[^\t\n -~\u00a0-\ud7ff\ue000-\U0010ffff]")

# -I: neither variables nor modules in a folder change what answers. -S: it needs no packages, and
# is ready sooner without a look at them. -X utf8: else the account's locale says how names are
# encoded.
_COMMAND = """\
test -e {program} || exit {nothing_here}
{unless_foreign}
exec {python} -I -S -X utf8 {program} {word} {path}"""


@dataclass(frozen=True)
class Place:
    """Where a site is on a server, as plain data."""

    address: Address
    path: str
    python: str


@dataclass(frozen=True)
class Instance:
    """What a server says of one instance of a process."""

    name: str
    instance: str
    is_known: bool = True
    """Whether its supervisor could be asked."""

    problem: str = ""
    """Blank: it runs."""

    restarts: str = ""
    """Another text after each restart."""

    releases: tuple[str, ...] = ()
    """Those that its processes run, as far as that can be seen."""


@dataclass(frozen=True)
class Look:
    """What a server says of all of them."""

    processes: tuple[Instance, ...] = ()
    supervisor: str = ""
    boot_id: str = ""
    booted_at: datetime | None = None


def look_at(place: Place) -> Look:
    """Ask a server what runs; an empty answer if nothing was started there by us.

    Raises HostUnreachable, HostKeyMismatch; RecipeError for an answer that is none.
    """
    name = place.address.name
    late = Message(_("%(server)s did not answer in time."), server=name)
    result = _run(place, "look", TIMEOUT, late)
    return Look() if result.exit_code == NOTHING_HERE else _read(name, result)


def start_on(place: Place) -> bool:
    """Have a server start what is down; False if it is in use: then nothing was tried.

    Raises HostUnreachable, HostKeyMismatch; RecipeError with what did not start.
    """
    name = place.address.name
    late = Message(_("%(server)s did not start its processes in time."), server=name)
    result = _run(place, "start", START_TIMEOUT, late)
    if result.exit_code == IN_USE:
        return False
    if not result.ok and result.exit_code != NOTHING_HERE:
        words = _plain(mask_text(result.stderr.strip() or result.stdout.strip()))
        raise RecipeError(words[-LONGEST_MESSAGE:])
    return True


def _run(place: Place, word: str, seconds: float, late: Message) -> Result:
    program = shlex.quote(f"{place.path}/.deploy/processes.pyz")
    command = _COMMAND.format(
        program=program,
        nothing_here=NOTHING_HERE,
        unless_foreign=unless_foreign(program),
        python=shlex.quote(place.python),
        word=word,
        path=shlex.quote(place.path),
    )
    result = run_in_time(place.address, command, seconds, late)
    refuse_foreign(place.address.name, result)
    return result


def _read(server: str, result: Result) -> Look:
    """Return a server's answer, safe to write to the rows. Raises RecipeError."""
    if not result.ok:
        words = mask_text(result.stderr.strip() or result.stdout.strip())
        last_line = _plain(words.rpartition("\n")[2])[:LONGEST_MESSAGE] or Message(
            _("exit code %(number)d"), number=result.exit_code
        )
        raise RecipeError(
            _("The processes of %(server)s can't be asked: %(last_line)s"),
            server=server,
            last_line=last_line,
        )
    # The account's profile may print something, too: the answer is the last line.
    answer = result.stdout.strip().rpartition("\n")[2]
    if len(result.stdout) > LONGEST_ANSWER:
        raise RecipeError(
            _("The answer of %(server)s is too long: its processes are not listed."), server=server
        )
    try:
        facts = json.loads(answer)
    except (ValueError, RecursionError):
        facts = None
    if not fits(facts, _ANSWER) or len(facts["processes"]) > MOST_PROCESSES:
        raise RecipeError(
            _("The answer of %(server)s is not a list of its processes."), server=server
        )
    instances = {}
    for row in facts["processes"]:
        each = _instance(row)
        instances[each.name, each.instance] = each
    booted_at = facts["booted_at"]
    return Look(
        processes=tuple(instances.values()),
        supervisor=_plain(facts["supervisor"])[:20],
        boot_id=_plain(facts["boot_id"])[:64],
        booted_at=datetime.fromtimestamp(booted_at, UTC) if booted_at else None,
    )


def _instance(row: dict[str, Any]) -> Instance:
    return Instance(
        name=_plain(row["name"])[:LONGEST_NAME],
        instance=_plain(row["instance"])[:20],
        is_known=row["is_known"],
        problem=_plain(row["problem"])[:LONGEST_MESSAGE],
        restarts=_plain(row["restarts"])[:200],
        releases=tuple(_plain(each)[:LONGEST_NAME] for each in row["releases"]),
    )


def _plain(text: str) -> str:
    """Return a text that every database stores and every page shows."""
    return _UNPRINTABLE.sub("\N{REPLACEMENT CHARACTER}", text)
