"""The inventory: ask the Python of each active release what is installed, and keep it on the rows.

Nothing is written on a server and no guard is asked, so a deployment may run there meanwhile. Of
two workers that ask the same server, only the one that began last writes its answer.
"""

import json
import logging
import re
import shlex
from collections.abc import Callable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor, as_completed
from dataclasses import dataclass
from datetime import datetime, timedelta
from functools import cache
from typing import Any, cast

from django.db.models import CharField, F, Q, QuerySet
from django.db.models.functions import Now
from django.utils.translation import gettext_noop as _

from deploy_manager.addresses import address_of
from deploy_manager.conf import get_settings
from deploy_manager.exceptions import DeployManagerError, RecipeError
from deploy_manager.hosts.address import Address
from deploy_manager.hosts.in_time import refuse_foreign, run_in_time, unless_foreign
from deploy_manager.logs import log_error, mask_text
from deploy_manager.masking import carried, masking
from deploy_manager.messages import Message, message_of
from deploy_manager.models import Environment, InstalledPackage, Placement
from deploy_manager.models.places import forget_moved
from deploy_manager.models.transactions import brief_transaction
from deploy_manager.packages.targets import NOT_DEPLOYED
from deploy_manager.recipes import Command, Result
from deploy_manager.recipes.holding import inventory_script
from deploy_manager.requirements.targets import Target
from deploy_manager.requirements.versions import parsed_version
from deploy_manager.site_secrets import SiteSecrets, known_secrets, open_secrets

logger = logging.getLogger(__name__)

TIMEOUT = 20.0
"""Seconds for a server's answer, connecting included."""

LONGEST_ANSWER = 900_000
"""Characters; a host keeps the last MiB of what is printed."""

LONGEST_PROBLEM = 1000
NOTHING_THERE = 44
"""Exit code for a deploy path without `current`."""

FACTS = {
    "implementation": "implementation",
    "python": "python_version",
    "platform": "platform",
    "libc": "libc",
}
"""The keys of an answer besides the packages, and their columns."""

ASKED_TWICE = Message(_("It was asked again meanwhile: the later answer counts."))

_NAME = re.compile(r"[a-z0-9]([a-z0-9-]*[a-z0-9])?")
_VERSION = re.compile(r"[!-~]+")
# `cd -P` resolves the links once: a switch meanwhile can't mix the files of two releases.
# -I: neither variables nor modules in a folder change what answers. -X utf8: else the account's
# locale, mostly C over SSH, says how names are encoded (PEP 540).
_COMMAND = """\
test -e {current} || exit {nothing_there}
cd -P {current}/venv || exit
{unless_foreign}
exec "$PWD/bin/python" -I -X utf8 -"""


@dataclass(frozen=True)
class Answer:
    """What a server reported about its active release."""

    facts: dict[str, str]
    """By column; see FACTS."""

    packages: dict[str, str]
    """Versions by normalised name."""


def due_placements() -> QuerySet[Placement]:
    """Return placements that were not asked within INVENTORY_EVERY, whether they answered or not.

    New ones and those that a deployment just reached come first.
    """
    since = Now() - timedelta(seconds=get_settings().INVENTORY_EVERY)
    return Placement.objects.filter(
        Q(inventory_tried_at=None) | Q(inventory_tried_at__lt=since)
    ).order_by(F("inventory_tried_at").asc(nulls_first=True), "pk")


def claim_due_placements(most: int) -> list[int]:
    """Mark up to so many due placements as asked; return the ids of those that this call got."""
    due = list(due_placements().values_list("pk", flat=True)[:most])
    # Each is a conditional UPDATE: of two processes that read the same list, one gets the row.
    return [pk for pk in due if due_placements().filter(pk=pk).update(inventory_tried_at=Now())]


def take_inventory(placement_id: int) -> bool:
    """Ask a server now what is installed; return whether its answer was written."""
    placements = Placement.objects.filter(pk=placement_id)
    return list(take_inventories(placements).values()) == [""]


def take_inventories(
    placements: QuerySet[Placement], at_once: int | None = None
) -> dict[int, Message]:
    """Ask servers side by side; return each placement's problem by its id, blank if it has none.

    `at_once` limits how many, by default to MAX_HOSTS_AT_ONCE.
    """
    found = placements.select_related("environment", "server__gateway").prefetch_related(
        "environment__secret_variables", "environment__tiers"
    )
    asked = [each for each in found if each.has_code]
    if not asked:
        return {}
    problems: dict[int, Message] = {}
    most = min(at_once or get_settings().MAX_HOSTS_AT_ONCE, len(asked))
    # The pool's threads only speak with servers; all queries are made by this thread. Masked in a
    # row is also what one of them opened on its way to a server: all is one work.
    with masking(()), ThreadPoolExecutor(most) as pool:
        # Once for each environment, which many of these servers have in common.
        opened, known = cache(open_secrets), cache(known_secrets)
        asking = {}
        for placement in asked:
            row = Placement.objects.filter(pk=placement.pk)
            row.update(inventory_tried_at=Now())
            # The database's own time, by which `_ours` tells this attempt from later ones.
            begun = row.values_list("inventory_tried_at", flat=True).first()
            if begun is not None:
                asking[_begin(pool, placement, opened)] = placement, begun
        for future in as_completed(asking):
            placement, begun = asking[future]
            with masking(known(placement.environment)):
                problems[placement.pk] = _note_answer(placement, begun, future)
    return problems


def _begin(
    pool: ThreadPoolExecutor, placement: Placement, opened: Callable[[Environment], SiteSecrets]
) -> "Future[Answer]":
    try:
        address = address_of(placement.server, environment=placement.environment)
        secrets = opened(placement.environment)
    except Exception as error:
        # An invalid row must not keep the other servers from being asked.
        failed: Future[Answer] = Future()
        failed.set_exception(error)
        return failed
    with masking(secrets.all):
        return pool.submit(carried(ask), address, placement.deploy_path)


def _note_answer(placement: Placement, begun: datetime, future: "Future[Answer]") -> Message:
    """Write an answer or a problem; return the problem, blank if there is none."""
    try:
        answer = future.result()
        with brief_transaction():
            forget_moved(placement.pk)
            won = _ours(placement, begun).update(
                inventory_at=Now(), inventory_problem="", **answer.facts
            )
            if won:
                _write_packages(placement, answer.packages)
    except Exception as error:
        # The border of a server: whatever happens with one, the others are written.
        if not isinstance(error, DeployManagerError):
            log_error(logger, "%s could not be asked", placement)
        problem = (message_of(error) or Message(type(error).__name__)).masked(LONGEST_PROBLEM)
        _ours(placement, begun).update(inventory_problem=problem)
        return problem
    return Message() if won else ASKED_TWICE


def _ours(placement: Placement, begun: datetime) -> QuerySet[Placement]:
    """Return the row, or nothing if a later attempt has begun or it was moved meanwhile."""
    # SQLite compares times as text, where a full second differs with and without its fraction:
    # equality would fail, so compare with the next millisecond.
    later = begun + timedelta(milliseconds=1)
    ours = Placement.objects.filter(pk=placement.pk, inventory_tried_at__lt=later)
    return ours.at(placement.place)


def _write_packages(placement: Placement, packages: dict[str, str]) -> None:
    # Only differences are written: an hourly inventory of many servers mostly finds none.
    rows = {row.name: row for row in placement.installed.all()}
    placement.installed.filter(name__in=rows.keys() - packages.keys()).delete()
    changed = []
    for name, row in rows.items():
        if name in packages and row.version != packages[name]:
            row.version = packages[name]
            changed.append(row)
    InstalledPackage.objects.bulk_update(changed, ["version"], batch_size=500)
    InstalledPackage.objects.bulk_create(
        InstalledPackage(placement=placement, name=name, version=packages[name])
        for name in sorted(packages.keys() - rows.keys())
    )


def ask(address: Address, deploy_path: str) -> Answer:
    """Ask a server over a connection of its own, without the database.

    Raises HostUnreachable, HostKeyMismatch, CommandTimedOut; RecipeError for an answer that is not
    an inventory.
    """
    current = shlex.quote(f"{deploy_path}/current")
    command = _COMMAND.format(
        current=current, nothing_there=NOTHING_THERE, unless_foreign=unless_foreign(".")
    )
    return _read(address.name, _run(address, command))


def ask_python(address: Address, python: str) -> Target:
    """Ask a server about a Python that virtual environments are made from there.

    Needs no deploy path. Raises as `ask` does.
    """
    command = [python, "-I", "-X", "utf8", "-"]
    facts = _read(address.name, _run(address, command)).facts
    return Target(
        facts["python_version"], facts["implementation"], facts["platform"], facts["libc"]
    )


def _run(address: Address, command: Command) -> Result:
    late = Message(
        _("%(name)s did not report its packages within %(seconds)s s."),
        name=address.name,
        seconds=f"{TIMEOUT:g}",
    )
    return run_in_time(address, command, TIMEOUT, late, stdin=inventory_script())


def _read(server: str, result: Result) -> Answer:
    """Return a server's answer, safe to write to the rows. Raises RecipeError."""
    if result.exit_code == NOTHING_THERE:
        raise RecipeError(NOT_DEPLOYED)
    refuse_foreign(server, result)
    if not result.ok:
        # An account that may run no commands often says so on standard output.
        words = mask_text(result.stderr.strip() or result.stdout.strip())
        last_line = words.rpartition("\n")[2] or Message(
            _("exit code %(number)d"), number=result.exit_code
        )
        raise RecipeError(
            _("The active release of %(server)s can't be asked: %(last_line)s"),
            server=server,
            last_line=last_line,
        )
    # A module of the site may print something when Python starts: the answer is the last line.
    answer = result.stdout.strip().rpartition("\n")[2]
    if len(result.stdout) > LONGEST_ANSWER:
        raise RecipeError(
            _("The answer of %(server)s is too long: its packages are not listed."), server=server
        )
    try:
        facts = json.loads(answer)
        texts = {column: _fact(column, facts[name]) for name, column in FACTS.items()}
        packages = _packages(server, facts["packages"])
    except (ValueError, KeyError, TypeError, RecursionError):
        raise RecipeError(
            _("The answer of %(server)s is not a list of its packages."), server=server
        ) from None
    return Answer(texts, packages)


def _fact(column: str, value: Any) -> str:
    """Return one of the interpreter's facts, cut to what its column holds."""
    if not isinstance(value, str):
        raise TypeError
    field = cast("CharField[str, str]", Placement._meta.get_field(column))
    return "".join(one for one in value if one.isprintable())[: field.max_length]


def _packages(server: str, pairs: Sequence[Any]) -> dict[str, str]:
    found = {}
    for name, version in pairs:
        if len(name) > 200 or not _NAME.fullmatch(name):
            raise RecipeError(
                _("%(server)s has a package with an invalid name: %(name)s."),
                server=server,
                name=repr(name[:100]),
            )
        if len(version) > 100 or not _VERSION.fullmatch(version):
            raise RecipeError(
                _("%(server)s has %(name)s in an invalid version: %(version)s."),
                server=server,
                name=name,
                version=repr(version[:100]),
            )
        # Spelled as in pins; an old version that PEP 440 does not allow stays as it is.
        found[name] = str(parsed_version(version) or version)
    return found
