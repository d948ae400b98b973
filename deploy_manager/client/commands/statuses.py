"""`report`: what a CI thinks of a commit."""

from argparse import ArgumentParser, Namespace
from typing import Any

from deploy_manager.client.commands.base import Command, connect
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
}


def report(given: Namespace, view: View) -> int:
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
