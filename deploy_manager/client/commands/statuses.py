"""`report`: what a CI thinks of a commit."""

import re
from argparse import ArgumentParser, Namespace
from typing import Any

from deploy_manager.client.commands.base import Command, connect
from deploy_manager.client.exits import Refused
from deploy_manager.client.texts import clean, short
from deploy_manager.client.views import View

STATES = {
    "pending": "pending",
    "success": "success",
    "failure": "failure",
    # As runners name them: GitHub's job.status, GitLab's CI_JOB_STATUS.
    "failed": "failure",
    "cancelled": "failure",
    "canceled": "failure",
    "skipped": "failure",
}

HASH = re.compile(r"[0-9a-f]{40}([0-9a-f]{24})?")


def report(given: Namespace, view: View) -> int:
    """Report it. Raises Refused for a hash that is not whole, which would be no commit's."""
    if not HASH.fullmatch(given.commit):
        raise Refused(f"Give the whole hash of the commit: git rev-parse {clean(given.commit)}")
    body = {
        "project": given.project,
        "commit": given.commit,
        "context": given.context,
        "state": STATES[given.state],
        "url": given.url,
        "description": given.description,
    }
    found: dict[str, Any] = connect(given).post("statuses", body=body)
    view.print(clean(f"{short(given.commit)} {given.context}: {STATES[given.state]}"))
    view.write("summary", **found)
    return 0


def _add_report(parser: ArgumentParser) -> None:
    parser.add_argument("project", help="like shop")
    parser.add_argument("commit", help="its full hash: $GITHUB_SHA, $CI_COMMIT_SHA")
    parser.add_argument("state", choices=STATES, metavar="STATE", help=", ".join(STATES))
    parser.add_argument(
        "--context", default="ci", help="what has an opinion, like tests: %(default)s"
    )
    parser.add_argument("--url", default="", help="where to read on")
    parser.add_argument("--description", default="", help="in a few words")


COMMANDS = (Command("report", "report what CI thinks of a commit", report, _add_report),)
