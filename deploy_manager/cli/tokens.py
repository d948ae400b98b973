"""Tokens of the API on a command line: who has an account on the machine keeps them all."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import timedelta
from typing import TYPE_CHECKING, Any

from django.contrib.auth import get_user_model
from django.core.exceptions import ValidationError
from django.utils import timezone

from deploy_manager.auditing import record_change
from deploy_manager.cli.exits import refuse
from deploy_manager.cli.text import clean
from deploy_manager.cli.views.base import Report, View, make_table
from deploy_manager.models import Environment, Token
from deploy_manager.requester import requester_name

if TYPE_CHECKING:
    from django.contrib.auth.models import User

MOST_DAYS = 3660


def find_user(name: str) -> "User":
    """Return the active user of this name. Raises CommandError (exit code 2)."""
    if not name:
        refuse("Say who acts by it: --user NAME.")
    users = get_user_model()
    found: User | None = users._default_manager.filter(
        **{users.USERNAME_FIELD: name}, is_active=True
    ).first()
    if found is None:
        refuse(f"There is no active user {clean(name)}.")
    return found


def find_token(name: str) -> Token:
    """Return the token that begins like this, or has this name. Raises CommandError."""
    usable = Token.objects.filter(revoked_at=None)
    found = list(usable.filter(hint=name[:20].rstrip("…")) or usable.filter(name=name))
    if not found:
        refuse(f"There is no token {clean(name)} that is not revoked yet.")
    if len(found) > 1:
        hints = ", ".join(each.hint for each in found)
        refuse(f"Several tokens have this name. Name one by how it begins: {hints}.")
    return found[0]


def issue(
    name: str,
    user: "User",
    scopes: Sequence[str],
    environments: Sequence[Environment],
    days: int,
    view: View,
) -> None:
    """Issue a token and print its secret. Raises CommandError (exit code 2) for bad input."""
    if not scopes:
        refuse("Say what it may do: --scope, which may be repeated.")
    if not 0 <= days <= MOST_DAYS:
        refuse(f"Enter between 0 (never) and {MOST_DAYS} days.")
    expires = timezone.now() + timedelta(days=days) if days else None
    try:
        token, secret = Token.objects.issue(
            user, environments, name=name, scopes=list(dict.fromkeys(scopes)), expires_at=expires
        )
    except ValidationError as error:
        refuse(" ".join(error.messages))
    view.say(f"Token {clean(token.name)} of {clean(str(user))}. It is shown only this once:")
    view.remark(secret)
    view.write("token", **as_data(token), secret=secret)
    view.write("summary", state="issued")


def revoke(token: Token, view: View) -> None:
    """End a token at once: what it has requested does not begin any more."""
    who = requester_name()
    if token.revoke(who):
        record_change(token, {}, {"revoked": who})
    view.say(f"{clean(str(token))} is revoked.")
    view.write("summary", state="revoked")


def as_data(token: Token) -> dict[str, Any]:
    """Return what programs are told of a token: all but its secret."""
    return {
        "name": token.name,
        "begins_with": token.hint,
        "user": str(token.user),
        "scopes": token.scopes,
        "environments": sorted(map(str, token.environments.all())) if token.is_limited else None,
        "expires": token.expires_at.isoformat() if token.expires_at else None,
        "last_used": token.last_used_at.isoformat() if token.last_used_at else None,
        "is_usable": token.is_usable,
    }


@dataclass(frozen=True)
class TokensReport(Report):
    """All tokens: whose they are, what they may do, when they were used last."""

    def print_on(self, view: View) -> None:
        table = make_table("begins with", "name", "user", "scopes", "environments", "state")
        for token in _tokens():
            told = as_data(token)
            where = told["environments"]
            table.add_row(
                token.hint,
                clean(token.name),
                clean(told["user"]),
                clean(", ".join(map(str, token.scopes))),
                "all" if where is None else clean(", ".join(where)) or "none any more",
                "good" if token.is_usable else "revoked" if token.revoked_at else "expired",
            )
        if not table.row_count:
            view.remark("There are no tokens.")
            return
        view.print_table(table)

    def write_on(self, view: View) -> None:
        found = _tokens()
        for token in found:
            view.write("token", **as_data(token))
        view.write("summary", tokens=len(found))


def _tokens() -> list[Token]:
    found = Token.objects.select_related("user").prefetch_related("environments__project")
    return list(found)
