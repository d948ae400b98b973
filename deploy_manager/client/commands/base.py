"""What all commands have in common: a name, arguments, and a connection to the manager."""

from argparse import ArgumentParser, Namespace
from collections.abc import Callable
from dataclasses import dataclass, replace

from deploy_manager.client.config import check_secrecy, find_manager
from deploy_manager.client.connection import Connection
from deploy_manager.client.views import View


def _nothing(parser: ArgumentParser) -> None:
    """Add no arguments."""


@dataclass(frozen=True)
class Command:
    """A word after `deploy-manager`; `run` returns the exit code, or raises ClientError."""

    name: str
    help: str
    run: Callable[[Namespace, View], int]
    add_arguments: Callable[[ArgumentParser], None] = _nothing


def connect(given: Namespace) -> Connection:
    """Return a connection to the manager that the arguments name. Raises Refused."""
    manager = find_manager(given.manager)
    manager = replace(
        manager,
        ca_file=given.ca_file or manager.ca_file,
        insecure=given.insecure or manager.insecure,
    )
    check_secrecy(manager)
    return Connection(manager)
