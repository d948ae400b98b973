"""Approvals on a command line: by somebody who proves to be that user.

Who has an account on the machine may request; that somebody else agrees, an account can't prove. So
a user of the site is named, and asked for the password, as at the login of the admin.
"""

import getpass
import sys
from dataclasses import dataclass
from typing import TYPE_CHECKING

from django.contrib.auth import authenticate

from deploy_manager.cli.exits import refuse
from deploy_manager.cli.text import clean
from deploy_manager.cli.views.base import Report, View, make_table
from deploy_manager.deployments.approvals import (
    approvals_that_count,
    waiting_for_approval,
    why_not_approved,
)
from deploy_manager.models import Deployment

if TYPE_CHECKING:
    from django.contrib.auth.models import User

MOST_LETTERS = 4096


def prove_user(name: str, *, from_stdin: bool) -> "User":
    """Return the user of this name who gave the password. Raises CommandError."""
    if from_stdin:
        password = sys.stdin.readline(MOST_LETTERS).rstrip("\r\n")
    elif sys.stdin.isatty():
        password = getpass.getpass(f"Password of {clean(name)}: ")
    else:
        refuse("There is no terminal to ask for the password: add --password-stdin.")
    user = authenticate(username=name, password=password)
    if user is None or not user.is_active:
        refuse("That is not the password of an active user of this name.")
    return user


@dataclass(frozen=True)
class ApprovalsReport(Report):
    """What waits for approval: how many it has, who gave them, and until when."""

    def print_on(self, view: View) -> None:
        waiting = [each for each in waiting_for_approval() if why_not_approved(each)]
        if not waiting:
            view.remark("Nothing waits for approval.")
            return
        table = make_table("number", "recipe", "environment", "requested by", "state")
        for each in waiting:
            table.add_row(
                str(each.pk),
                each.recipe,
                str(each.environment),
                clean(each.requested_by_name),
                clean(str(why_not_approved(each))),
            )
        view.print_table(table)

    def write_on(self, view: View) -> None:
        found = 0
        for each in waiting_for_approval():
            if why := why_not_approved(each):
                found += 1
                view.write("approval", **facts_of(each), message=why)
        view.write("summary", waiting=found)


def facts_of(deployment: Deployment) -> dict[str, object]:
    """Return what programs are told of the approvals of a deployment."""
    by = deployment.approve_by
    return {
        "deployment": deployment.pk,
        "environment": str(deployment.environment),
        "state": deployment.state,
        "needed": deployment.approvals_needed,
        "given": [each.user_name for each in approvals_that_count(deployment)],
        "expires": by.isoformat() if by else None,
    }
