"""`upgrade`, `upgrades`: packages moved across environments, one after the other."""

import re
import time
from argparse import ArgumentParser, ArgumentTypeError, Namespace
from typing import Any

from rich.text import Text

from deploy_manager.client.commands.base import Command, connect
from deploy_manager.client.commands.finding import find_environment
from deploy_manager.client.commands.following import add_watching
from deploy_manager.client.connection import Connection
from deploy_manager.client.exits import FAILED, Refused
from deploy_manager.client.plans import WARNING, agrees, describe_pin
from deploy_manager.client.terminal import words_of
from deploy_manager.client.texts import clean, shorten
from deploy_manager.client.views import Row, View, show_list
from deploy_manager.client.watching import (
    LONGEST_PAUSE,
    Interrupts,
    Watcher,
    ask_whether_to_stay,
    interruptible,
)

REACHES = {
    "security": "vulnerable packages only, to the lowest version that is fixed",
    "patch": "to the newest patch version, like 5.2.7 to 5.2.8",
    "minor": "to the newest minor version, like 5.1 to 5.2",
    "latest": "to the newest version of all; the default",
}
UNITS = {"s": 1, "m": 60, "h": 3600, "d": 86400}
DURATION = re.compile(r"([0-9]{1,6})([smhd])", re.ASCII)


def upgrade(given: Namespace, view: View) -> int:
    """Have it planned by a worker, have the plan confirmed, request that, and watch it."""
    connection = connect(given)
    planned = _plan(connection, given)
    _show_plan(planned, view)
    if planned["problems"] or planned["state"] == "failed":
        raise Refused("\n".join(planned["problems"]) or str(planned["message"]))
    if given.dry_run or not planned["shown"]:
        state = "planned" if planned["shown"] else "unchanged"
        view.write("summary", upgrade=None, state=state, environments=planned["environments"])
        return 0
    _agree(planned, given, view)
    body = {
        "plan": planned["plan"],
        "shown": planned["shown"],
        "take_back": bool(planned["taken_back"]),
    }
    interrupts = Interrupts()
    with interrupts.noted():
        made: Row = connection.post("upgrades", body=body)["upgrade"]
        number, state = made["number"], made["state"]
        view.write("requested", upgrade=number, state=state, message=made["message"])
        view.print(f"Upgrade #{number} {words_of(state)}")
        if given.no_wait:
            return _show_outcome(made, view, exit_code=0)
        return UpgradeWatcher(connection, view, number, interrupts).watch()


def _plan(connection: Connection, given: Namespace) -> dict[str, Any]:
    """Return the plan, once a worker has found out what would move."""
    asked = {
        "environments": [find_environment(connection, name) for name in given.environment],
        "packages": given.packages,
        "reach": given.reach,
        "reason": given.reason,
        "soak": given.soak,
        "cooldown": given.cooldown,
        "stop_on_failure": given.stop_on_failure,
    }
    number = connection.post("upgrades", "plans", body=asked)["plan"]
    while True:
        planned: dict[str, Any] = connection.get("upgrades", "plans", number)
        if planned["state"] not in ("queued", "running"):
            return planned
        time.sleep(LONGEST_PAUSE / 4)


def _show_plan(planned: Row, view: View) -> None:
    for stage in planned["stages"]:
        view.write("plan", **stage)
        view.print(Text(clean(stage["environment"]), "bold"))
        for move in stage["moves"]:
            view.print(Text(f"  {describe_pin(move)}  {clean(move['why'])}".rstrip()))
        for line in filter(None, (stage["bad"], stage["not_now"])):
            view.print(Text(f"  {clean(line)}", WARNING))
    for name in planned["unmoved"]:
        view.say(f"{name}: nothing to do.")


def _agree(planned: Row, given: Namespace, view: View) -> None:
    """Return if all of it is agreed to. Raises Refused."""
    taken = shorten(planned["taken_back"])
    if taken and not given.take_back and not agrees(f"Take back {taken}? [y/N] ", view):
        raise Refused(
            f"This would take back what an upgrade or a fix brought: {taken}. To agree, add"
            " --take-back."
        )
    if view.can_ask and not given.yes and not agrees("Upgrade as shown? [y/N] ", view):
        raise Refused("Not confirmed, so nothing was requested.")


class UpgradeWatcher:
    """Shows the environments of an upgrade as they change, and each of its deployments."""

    def __init__(
        self, connection: Connection, view: View, number: int, interrupts: Interrupts
    ) -> None:
        self._connection = connection
        self._view = view
        self._number = number
        self._interrupts = interrupts
        self._shown: dict[str, str] = {}
        self._watched: set[int] = set()

    def watch(self) -> int:
        """Return the exit code, of how it ended or of how it was when the watcher left."""
        upgrade: Row = self._connection.get("upgrades", self._number)
        with self._connection.patient():
            while self._show_stages(upgrade["stages"]) and upgrade["live"]:
                try:
                    with interruptible():
                        time.sleep(LONGEST_PAUSE / 2)
                        upgrade = self._connection.get("upgrades", self._number)
                except KeyboardInterrupt:
                    if not self._stays():
                        break
                if self._interrupts.take() and not self._stays():
                    break
        return _show_outcome(upgrade, self._view)

    def _show_stages(self, stages: list[Row]) -> bool:
        """Show what changed, and watch new deployments; return False if the watcher left."""
        for stage in stages:
            name, state, number = stage["environment"], stage["state"], stage["deployment"]
            if self._shown.get(name) != state:
                self._shown[name] = state
                _show_stage(stage, self._view)
            if number and number not in self._watched:
                self._watched.add(number)
                watcher = Watcher(self._connection, self._view, number, self._interrupts)
                if not watcher.watch():
                    return False
        return True

    def _stays(self) -> bool:
        def cancel() -> None:
            self._connection.post("upgrades", self._number, "cancel")

        return ask_whether_to_stay(f"Upgrade #{self._number}", cancel, self._view)


def _show_stage(stage: Row, view: View) -> None:
    view.write("stage", **{name: value for name, value in stage.items() if name != "moves"})
    view.print(f"{stage['environment']}: {words_of(str(stage['state']))}")
    if stage["message"]:
        view.print(str(stage["message"]))


def _show_outcome(upgrade: Row, view: View, exit_code: int | None = None) -> int:
    number, state = upgrade["number"], str(upgrade["state"])
    view.print(f"Upgrade #{number}: {words_of(state)}")
    if upgrade["message"]:
        view.print(str(upgrade["message"]))
    states = {stage["environment"]: stage["state"] for stage in upgrade["stages"]}
    told = {"upgrade": number, "state": state, "message": upgrade["message"]}
    view.write("summary", **told, environments=states)
    if exit_code is not None:
        return exit_code
    return 0 if state == "succeeded" else FAILED


def list_upgrades(given: Namespace, view: View) -> int:
    show_list(view, "upgrade", connect(given).get("upgrades", limit=20)["upgrades"], COLUMNS)
    return 0


def watch_upgrade(given: Namespace, view: View) -> int:
    """Watch an upgrade, or cancel it, then watch it go back."""
    connection = connect(given)
    if given.number is None:
        return list_upgrades(given, view)
    if given.cancel:
        connection.post("upgrades", given.number, "cancel")
    interrupts = Interrupts()
    with interrupts.noted():
        return UpgradeWatcher(connection, view, given.number, interrupts).watch()


COLUMNS = {
    "number": lambda row: f"#{row['number']}",
    "upgrade": lambda row: row["title"],
    "environments": lambda row: shorten([stage["environment"] for stage in row["stages"]]),
    "state": lambda row: words_of(str(row["state"])),
    "requested by": lambda row: row["requested_by"],
}


def _seconds(text: str) -> int:
    # Not of a number alone: each would read another unit into it.
    found = DURATION.fullmatch("0s" if text == "0" else text)
    if found is None:
        raise ArgumentTypeError(f"{text!r} is not a duration: write one like 30s, 10m, 2h or 7d.")
    return int(found[1]) * UNITS[found[2]]


def _add_upgrade(parser: ArgumentParser) -> None:
    parser.add_argument(
        "packages", nargs="*", help="like django==5.2.8, or celery; default: all packages"
    )
    parser.add_argument(
        "--environment",
        action="append",
        required=True,
        help="like shop/production; may be repeated, in the order to upgrade",
    )
    reaches = parser.add_mutually_exclusive_group()
    for name, text in REACHES.items():
        reaches.add_argument(
            f"--{name}", dest="reach", action="store_const", const=name, default="", help=text
        )
    parser.add_argument("--reason", default="", help="reason, shown in the history")
    durations = {
        "soak": "how long the canary, and each environment, must run well before the next",
        "cooldown": "do not install younger versions, unless with --security",
    }
    for name, text in durations.items():
        parser.add_argument(f"--{name}", type=_seconds, default=0, metavar="10m", help=text)
    _add_flags(parser)
    add_watching(parser)


def _add_flags(parser: ArgumentParser) -> None:
    for name, text in {
        "stop-on-failure": "if one environment fails, leave those before it as they are",
        "dry-run": "only show the packages that would move",
        "take-back": "agree that packages you did not name undo an upgrade or a fix",
        "yes": "on a terminal: unasked, as shown",
    }.items():
        parser.add_argument(f"--{name}", action="store_true", help=text)


def _add_number(parser: ArgumentParser) -> None:
    parser.add_argument("number", nargs="?", type=int, help="watch this one; default: a list")
    parser.add_argument("--cancel", action="store_true", help="stop it: what it moved goes back")


COMMANDS = (
    Command(
        "upgrade", "upgrade packages on environments, one after the other", upgrade, _add_upgrade
    ),
    Command("upgrades", "list upgrades; watch or stop one", watch_upgrade, _add_number),
)
