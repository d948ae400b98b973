"""`login`, `logout`, `me`: which manager is asked, and as whom."""

import getpass
import sys
from argparse import ArgumentParser, Namespace
from typing import Any

from deploy_manager.client import config
from deploy_manager.client.commands.base import Command, connect
from deploy_manager.client.connection import Connection
from deploy_manager.client.exits import Refused
from deploy_manager.client.texts import clean, shorten
from deploy_manager.client.views import View

MOST_LETTERS = 4096


def _add_login(parser: ArgumentParser) -> None:
    parser.add_argument(
        "url",
        nargs="?",
        default="",
        help="where your project's urls include deploy_manager's: https://…/deploy/",
    )
    parser.add_argument(
        "--token-stdin", action="store_true", help="read the token from stdin, not the terminal"
    )


def login(given: Namespace, view: View) -> int:
    """Ask for an address and a token, try them, and keep them."""
    manager = config.Manager(
        config.read_url(given.url or _ask_url(view)),
        ca_file=given.ca_file,
        insecure=given.insecure,
    )
    # Before the token is asked for, and without it.
    config.check_secrecy(manager)
    manager = config.Manager(**{**vars(manager), "token": _read_token(given, view)})
    me = Connection(manager).get("me")
    path = config.store(given.manager, manager)
    view.print(f"Logged in at {manager.url} as {clean(me.get('user'))}. The token is in {path}.")
    view.write("summary", url=manager.url, user=me.get("user"))
    return 0


def _ask_url(view: View) -> str:
    if not view.can_ask:
        raise Refused("Give the address: deploy-manager login https://manager.example.org/deploy/")
    return view.ask("Address of the manager, like https://manager.example.org/deploy/: ")


def _read_token(given: Namespace, view: View) -> str:
    """Return the token, which no list of processes and no history of a shell shows."""
    if given.token_stdin:
        token = sys.stdin.readline(MOST_LETTERS)
    elif view.can_ask:
        try:
            token = getpass.getpass("Token: ")
        except EOFError as error:
            raise Refused("No token was entered, so nothing was kept.") from error
    else:
        raise Refused("There is no terminal to ask for the token: add --token-stdin.")
    return config.read_token(token)


def logout(given: Namespace, view: View) -> int:
    """Forget a manager and its token. The token itself stays good until it is revoked there."""
    if not config.forget(given.manager):
        raise Refused("You are not logged in there.")
    view.print("Logged out. The token is good until it is revoked: in the admin, under Tokens.")
    view.write("summary", state="logged out")
    return 0


def me(given: Namespace, view: View) -> int:
    """Show what the token is good for."""
    found: dict[str, Any] = connect(given).get("me")
    facts = {
        "user": clean(found.get("user")),
        "token": clean(found.get("token")),
        "scopes": shorten(found.get("scopes") or ()),
        "environments": shorten(found.get("environments") or ["all that the user may see"]),
        "expires": clean(found.get("expires_at")) or "never",
    }
    for label, text in facts.items():
        view.print(f"{label:<13}{text}")
    view.write("summary", **found)
    return 0


COMMANDS = (
    Command("login", "keep the address of a manager, and a token of its API", login, _add_login),
    Command("logout", "forget them", logout),
    Command("me", "show whose token it is, and what it is good for", me),
)
