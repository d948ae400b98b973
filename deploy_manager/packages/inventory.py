"""What servers have installed: asked of the active release's own Python, and kept on the rows.

Nothing is written on a server and no guard is asked: a deployment may run there meanwhile. Who
began to ask last writes what it heard; who began before writes nothing.
"""

import json
import logging
import re
import shlex
from collections.abc import Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor, as_completed
from contextlib import closing, contextmanager
from dataclasses import dataclass
from datetime import datetime, timedelta
from threading import Event, Timer
from typing import Any, cast

from django.db.models import CharField, F, Q, QuerySet
from django.db.models.functions import Now
from django.utils.translation import gettext_noop
from packaging.version import InvalidVersion, Version

from deploy_manager.addresses import address_of
from deploy_manager.conf import get_settings
from deploy_manager.exceptions import Cancelled, DeployManagerError, RecipeError
from deploy_manager.hosts.address import Address, Stream
from deploy_manager.hosts.opening import open_host
from deploy_manager.logs import mask_text
from deploy_manager.models import InstalledPackage, Placement
from deploy_manager.models.transactions import brief_transaction
from deploy_manager.recipes import Result
from deploy_manager.recipes.holding import inventory_script

logger = logging.getLogger(__name__)

TIMEOUT = 20.0
"""Seconds in which a server has to answer, from the first packet on."""

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
"""What is told besides the packages, and its column."""

NOT_DEPLOYED = gettext_noop("Nothing is deployed there yet.")
ASKED_TWICE = gettext_noop("It was asked once more meanwhile: that answer counts.")

_NAME = re.compile(r"[a-z0-9]([a-z0-9-]*[a-z0-9])?")
_VERSION = re.compile(r"[!-~]+")
_COMMAND = """\
test -e {current} || exit {nothing_there}
cd -P {current}/venv && exec "$PWD/bin/python" -I -X utf8 -"""
"""The folder is resolved once: a release that is switched meanwhile is not half another one."""


@dataclass(frozen=True)
class Told:
    """What a server told of its active release."""

    facts: dict[str, str]
    """By column; see FACTS."""

    packages: dict[str, str]
    """Versions by normalised name."""


def due_placements() -> QuerySet[Placement]:
    """Placements that nobody asked for a while (INVENTORY_EVERY), whether they answered or not.

    First those that a deployment just reached, and new ones.
    """
    since = Now() - timedelta(seconds=get_settings().INVENTORY_EVERY)
    return Placement.objects.filter(
        Q(inventory_tried_at=None) | Q(inventory_tried_at__lt=since)
    ).order_by(F("inventory_tried_at").asc(nulls_first=True), "pk")


def claim_due_placements(most: int) -> list[int]:
    """Mark so many due placements as asked, which nobody else did before; return their ids."""
    due = list(due_placements().values_list("pk", flat=True)[:most])
    return [pk for pk in due if due_placements().filter(pk=pk).update(inventory_tried_at=Now())]


def take_inventory(placement_id: int) -> bool:
    """Ask a server now what is installed; return whether it answered, and the rows say so."""
    placements = Placement.objects.filter(pk=placement_id)
    return list(take_inventories(placements).values()) == [""]


def take_inventories(placements: QuerySet[Placement], at_once: int | None = None) -> dict[int, str]:
    """Ask servers side by side; return by the placement's id why one told nothing, or blank.

    `at_once` is how many, MAX_HOSTS_AT_ONCE by default. The database is used by this thread only.
    """
    asked = list(placements.select_related("environment", "server__gateway"))
    if not asked:
        return {}
    problems: dict[int, str] = {}
    with ThreadPoolExecutor(min(at_once or get_settings().MAX_HOSTS_AT_ONCE, len(asked))) as pool:
        asking = {
            _begin(pool, placement): (placement, begun)
            for placement in asked
            if (begun := _note_try(placement)) is not None
        }
        for future in as_completed(asking):
            placement, begun = asking[future]
            problems[placement.pk] = _note_answer(placement, begun, future)
    return problems


def _begin(pool: ThreadPoolExecutor, placement: Placement) -> "Future[Told]":
    try:
        address = address_of(placement.server)
    except Exception as error:
        # A row that leads nowhere keeps no other server from being asked.
        failed: Future[Told] = Future()
        failed.set_exception(error)
        return failed
    return pool.submit(ask, address, placement.deploy_path)


def _note_try(placement: Placement) -> datetime | None:
    """Write that it is asked; return by which time of the database this try is known."""
    row = Placement.objects.filter(pk=placement.pk)
    row.update(inventory_tried_at=Now())
    return row.values_list("inventory_tried_at", flat=True).first()


def _note_answer(placement: Placement, begun: datetime, future: "Future[Told]") -> str:
    """Write what was told; return why nothing was, or that it counts no more."""
    try:
        is_written = _write(placement, begun, future.result())
    except Exception as error:
        # The border of a server: whatever happens with one, the others are listed.
        if not isinstance(error, DeployManagerError):
            logger.exception("%s could not be asked", placement)
        problem = mask_text(str(error) or type(error).__name__)[:LONGEST_PROBLEM]
        _ours(placement, begun).update(inventory_problem=problem)
        return problem
    return "" if is_written else ASKED_TWICE


def _ours(placement: Placement, begun: datetime) -> QuerySet[Placement]:
    """The row, unless somebody began to ask later than we did.

    SQLite compares moments as texts, in which a full second without and with milliseconds differ.
    """
    later = begun + timedelta(milliseconds=1)
    return Placement.objects.filter(pk=placement.pk, inventory_tried_at__lt=later)


def _write(placement: Placement, begun: datetime, told: Told) -> bool:
    with brief_transaction():
        won = _ours(placement, begun).update(inventory_at=Now(), inventory_problem="", **told.facts)
        if won:
            _write_packages(placement, told.packages)
    return bool(won)


def _write_packages(placement: Placement, packages: dict[str, str]) -> None:
    """Write what differs from the rows, and nothing else."""
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


def ask(address: Address, deploy_path: str) -> Told:
    """Ask a server over a connection of its own; no database is used.

    Raises HostUnreachable, HostKeyMismatch, CommandTimedOut; RecipeError for an answer that is
    none.
    """
    current = shlex.quote(f"{deploy_path}/current")
    command = _COMMAND.format(current=current, nothing_there=NOTHING_THERE)
    with _in_time(address.name) as over, closing(open_host(address, _no_log, over)) as host:
        result = host.run(command, stdin=inventory_script(), check=False, quiet=True)
    return _read(address.name, result)


@contextmanager
def _in_time(name: str) -> Iterator[Event]:
    """Yield what is set when the time is over. Raises RecipeError for what that cancelled."""
    over = Event()
    alarm = Timer(TIMEOUT, over.set)
    alarm.daemon = True
    alarm.start()
    try:
        yield over
    except Cancelled:
        raise RecipeError(f"{name} did not tell what is installed within {TIMEOUT:g} s.") from None
    finally:
        alarm.cancel()


def _no_log(stream: Stream, data: bytes) -> None:
    """Nothing of it is kept but the answer."""


def _read(server: str, result: Result) -> Told:
    """Return what was told. Raises RecipeError for what nobody may put into the rows."""
    if result.exit_code == NOTHING_THERE:
        raise RecipeError(NOT_DEPLOYED)
    if not result.ok:
        # An account that runs no commands may say so on standard output.
        words = result.stderr.strip() or result.stdout.strip()
        last_line = words.rpartition("\n")[2] or f"exit code {result.exit_code}"
        raise RecipeError(f"The active release of {server} can't be asked: {last_line}")
    # What a module of the site prints when Python starts stands before it.
    answer = result.stdout.strip().rpartition("\n")[2]
    if len(result.stdout) > LONGEST_ANSWER:
        raise RecipeError(f"{server} told more than fits: its packages are not listed.")
    try:
        facts = json.loads(answer)
        texts = {column: _fact(column, facts[name]) for name, column in FACTS.items()}
        packages = _packages(server, facts["packages"])
    except (ValueError, KeyError, TypeError, RecursionError):
        raise RecipeError(f"{server} told something else than what is installed.") from None
    return Told(texts, packages)


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
            raise RecipeError(f"{server} has a package whose name is none: {name[:100]!r}.")
        if len(version) > 100 or not _VERSION.fullmatch(version):
            raise RecipeError(f"{server} has {name} in a version that is none: {version[:100]!r}.")
        found[name] = _normalised(version)
    return found


def _normalised(version: str) -> str:
    """As pins spell it; what is no version by today's rules stays as it is."""
    try:
        return str(Version(version))
    except InvalidVersion:
        return version
