"""`manage.py audit_log`: print who changed or did what, as CSV or JSON lines."""

from argparse import ArgumentParser
from typing import Any

from django.utils import timezone

from deploy_manager.auditing import as_csv, as_json_lines
from deploy_manager.cli.base import OwnCommand, duration
from deploy_manager.models import AuditEvent

FORMS = {"csv": as_csv, "jsonl": as_json_lines}


class Command(OwnCommand):
    help = "Print the audit, the oldest first: who changed or did what, with before and after."
    requires_system_checks = ()

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument("--form", choices=FORMS, default="jsonl", help="default: jsonl")
        parser.add_argument(
            "--since", type=duration, metavar="TIME", help="only the last 30m, 12h or 7d"
        )
        parser.add_argument("--who", default="", help="only what this person or account did")
        parser.add_argument(
            "--after", type=int, default=0, metavar="NUMBER", help="only events after this number"
        )

    def handle(self, *args: Any, **options: Any) -> None:
        found = AuditEvent.objects.filter(pk__gt=options["after"])
        if options["since"]:
            found = found.filter(at__gte=timezone.now() - options["since"])
        if options["who"]:
            found = found.filter(who=options["who"])
        for line in FORMS[options["form"]](found):
            self.stdout.write(line.decode(), ending="")
