"""`manage.py host_keys`: the host keys of many servers, compared and pinned."""

import sys
from argparse import ArgumentParser
from pathlib import Path
from typing import Any

from deploy_manager.cli.base import ConsoleCommand, add_project
from deploy_manager.cli.exits import FAILED, refuse
from deploy_manager.cli.inventory.host_keys import (
    Agrees,
    HostKeyReport,
    find_servers,
    pin_host_keys,
    read_known_keys,
)
from deploy_manager.cli.packages.pins import agrees
from deploy_manager.cli.views.base import View
from deploy_manager.inventory.host_keys import CHANGED, NEW, SeenKey


class Command(ConsoleCommand):
    help = (
        "Fetch the host keys of servers, and pin those that you agree to. Exit code 1 unless each"
        " server has shown the key that is pinned."
    )

    def add_own_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument("servers", nargs="*", metavar="server", help="default: all")
        parser.add_argument(
            "--environment", default="", help="only its servers, like shop/production"
        )
        add_project(parser)
        parser.add_argument(
            "--fingerprints",
            type=Path,
            metavar="FILE",
            help="pin the keys that are in this file: what ssh-keygen -lf prints, or known_hosts",
        )
        parser.add_argument(
            "--yes-to-new",
            action="store_true",
            help="pin the key of each server that has none pinned; never one that has changed",
        )

    def handle(self, *args: Any, **options: Any) -> None:
        view = self.make_view(options)
        servers = find_servers(options["servers"], options["environment"], options["project"])
        if not any(not server.is_local for server in servers):
            refuse("There is no server to ask: those on the worker's own machine have no host key.")
        report = HostKeyReport(pin_host_keys(servers, _make_agree(options, view)))
        view.show(report)
        if not report.is_well:
            sys.exit(FAILED)


def _make_agree(options: dict[str, Any], view: View) -> Agrees:
    """Return who says whether a key is pinned: a file, an option, or else a person."""
    known = read_known_keys(options["fingerprints"]) if options["fingerprints"] else None

    def agree(seen: SeenKey) -> bool:
        if seen.key is None or seen.address is None:
            return False
        if known is not None and known.has(seen.address, seen.key.line):
            return True
        if options["yes_to_new"] and seen.state == NEW:
            return True
        # Whoever gave a file or an option has said already what is taken.
        if known is not None or options["yes_to_new"]:
            return False
        what = f"{seen.server}: {seen.key.fingerprint}"
        if seen.state == CHANGED:
            what += f" instead of the pinned {seen.pinned}. The connection may be intercepted"
        return agrees(f"{what}. Pin this key? [y/N] ", view)

    return agree
