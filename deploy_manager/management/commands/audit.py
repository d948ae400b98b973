"""`manage.py audit`: look up advisories about what is installed and pinned."""

import sys
from argparse import ArgumentParser
from typing import Any

from deploy_manager.cli.base import EnvironmentCommand
from deploy_manager.cli.inventory.environments import all_environments
from deploy_manager.cli.packages.audit import AuditReport
from deploy_manager.packages.auditing import audit
from deploy_manager.packages.exposure import unknown_versions, unseen, vulnerable_packages

VULNERABLE, UNKNOWN = 1, 2
"""Exit codes."""


class Command(EnvironmentCommand):
    help = (
        "Look up advisories about what is installed and pinned. Exit code 0 if none is known, 1 if"
        " something is vulnerable, 2 if that could not be found out."
    )

    def add_subject(self, parser: ArgumentParser) -> None:
        parser.add_argument("environment", nargs="?", help="like shop/production; default: all")

    def handle(self, *args: Any, **options: Any) -> None:
        one = self.find_environment(options) if options["environment"] else None
        environments = [one] if one else all_environments()
        view = self.make_view(options)
        checked = audit(environments=environments, is_forced=True)
        report = AuditReport(
            checked, vulnerable_packages(one), unknown_versions(one), list(unseen(environments))
        )
        view.show(report)
        if report.exposed:
            sys.exit(VULNERABLE)
        if report.unknown or report.unseen:
            sys.exit(UNKNOWN)
