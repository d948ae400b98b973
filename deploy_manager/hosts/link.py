"""Connections to servers whose host key is known: gateways, authentication, second tries."""

import logging
import socket
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from threading import Event
from typing import Any

import fabric
import paramiko
from paramiko.ssh_exception import BadHostKeyException, IncompatiblePeer

from deploy_manager.conf import get_settings
from deploy_manager.exceptions import HostKeyMismatch, HostUnreachable
from deploy_manager.hosts import keys
from deploy_manager.hosts.address import Address
from deploy_manager.hosts.attempts import unless_cancelled, with_second_tries
from deploy_manager.hosts.channel import told
from deploy_manager.hosts.dial import (
    CHANNEL_TIMEOUT,
    NotNow,
    dial,
    dial_through,
    place_of,
)
from deploy_manager.hosts.hanging_up import hang_up, hung_up
from deploy_manager.hosts.keys import HostKey
from deploy_manager.hosts.pulse import keep_pulse

GREETING_TIMEOUT = 10.0
LOGIN_TIMEOUT = 20.0
Way = socket.socket | paramiko.Channel

logging.getLogger("paramiko").addHandler(logging.NullHandler())  # its errors are raised as ours


@dataclass(frozen=True)
class Link:
    """An open connection, with those to the gateways it goes through."""

    connection: Any
    """A fabric.Connection (fabric has no type hints)."""

    through: "Link | None" = None

    @property
    def transport(self) -> paramiko.Transport:
        transport: paramiko.Transport = self.connection.transport
        return transport

    def close(self) -> None:
        hang_up(self.connection)
        hang_up(self.connection.client)
        if self.through is not None:
            self.through.close()


def connect(address: Address, cancelled: Event) -> Link:
    """Return an open connection. Raises HostUnreachable, HostKeyMismatch, Cancelled."""
    return unless_cancelled(lambda: _link(address, cancelled), cancelled)


def fetch_host_key(address: Address) -> HostKey:
    """Return the key a server shows, for a person to compare; nothing is sent to log in there.

    Its gateways are logged in to: their keys must be pinned. Raises HostUnreachable.
    """
    if address.local:
        raise HostUnreachable(f"{address.name} is the worker's own machine: it has no host key.")
    never = Event()
    with ExitStack() as at_end:
        through = _gateway_link(address, never, at_end)
        return with_second_tries(lambda: _exchange(address, through), never)


def _link(address: Address, cancelled: Event) -> Link:
    with ExitStack() as on_error:
        through = _gateway_link(address, cancelled, on_error)
        link = with_second_tries(lambda: _log_in(address, through), cancelled)
        on_error.pop_all()
    return link


def _gateway_link(address: Address, cancelled: Event, stack: ExitStack) -> Link | None:
    """Connect to the gateway, if there is one; what is local needs none to be reached."""
    if address.gateway is None or address.gateway.local:
        return None
    link = _link(address.gateway, cancelled)
    stack.callback(hang_up, link)
    return link


def _log_in(address: Address, through: Link | None) -> Link:
    pinned = _pinned_key(address, through)
    connection = _connection(address, pinned)
    with ExitStack() as on_error:
        on_error.callback(hang_up, connection.client)
        way = _way_to(address, through)
        on_error.callback(hang_up, way)
        connection.connect_kwargs["sock"] = way
        with _explained(address, through, connection.client):
            connection.open()
        on_error.pop_all()
    keep_pulse(connection.transport)
    return Link(connection, through)


def _connection(address: Address, pinned: paramiko.PKey) -> Any:
    """Return a connection that knows one host key and one identity, and no file of the account."""
    connection = fabric.Connection(
        address.hostname,
        user=address.user,
        port=address.port,
        config=fabric.Config(lazy=True, overrides={"load_ssh_configs": False}),
        connect_kwargs={
            "timeout": GREETING_TIMEOUT + LOGIN_TIMEOUT,
            "banner_timeout": GREETING_TIMEOUT,
            "auth_timeout": LOGIN_TIMEOUT,
            "channel_timeout": CHANNEL_TIMEOUT,
            "look_for_keys": False,
            "transport_factory": _transports_for(pinned),
            **_identity(),
        },
    )
    connection.client.set_missing_host_key_policy(paramiko.RejectPolicy())
    connection.client.get_host_keys().add(address.known_as, pinned.get_name(), pinned)
    return connection


def _pinned_key(address: Address, through: Link | None) -> paramiko.PKey:
    advice = "Use “Fetch host key” in the admin and compare it with what the server itself says."
    if not address.host_key.strip():
        shown = _exchange(address, through)
        raise HostKeyMismatch(
            f"{place_of(address)} has no pinned host key. It shows {shown.fingerprint}. {advice}"
        )
    try:
        return keys.read_line(address.host_key)
    except ValueError as error:
        raise HostKeyMismatch(
            f"The host key pinned for {address.name}: {error} {advice}"
        ) from error


def _identity() -> dict[str, Any]:
    """Return what to log in with. Raises HostUnreachable where there is nothing."""
    conf = get_settings()
    if conf.SSH_KEY_FILE is None:
        if not conf.SSH_AGENT:
            raise HostUnreachable(
                "There is no key to log in with: set SSH_KEY_FILE in DEPLOY_MANAGER to the path of"
                " a private key, or SSH_AGENT to True."
            )
        return {"allow_agent": True}
    try:
        key = paramiko.PKey.from_path(conf.SSH_KEY_FILE)
    except OSError as error:
        raise HostUnreachable(
            f"SSH_KEY_FILE {conf.SSH_KEY_FILE} can't be read: {error.strerror}."
        ) from error
    except (paramiko.SSHException, ValueError, TypeError, paramiko.pkey.UnknownKeyType) as error:
        raise HostUnreachable(
            f"SSH_KEY_FILE {conf.SSH_KEY_FILE} is no private key that can be used: {error}. A key"
            " with a passphrase works through an agent only (SSH_AGENT)."
        ) from error
    return {"pkey": key, "allow_agent": conf.SSH_AGENT}


def _transports_for(pinned: paramiko.PKey) -> Callable[..., paramiko.Transport]:
    """Return a maker of transports that ask the server for a key of the pinned type only."""

    def make(way: Way, **options: Any) -> paramiko.Transport:
        transport = paramiko.Transport(way, **{**options, "disabled_algorithms": keys.BY_SHA_1})
        transport.get_security_options().key_types = keys.algorithms_of(pinned)
        return transport

    return make


def _way_to(address: Address, through: Link | None) -> Way:
    if through is None or address.gateway is None:
        return dial(address)
    return dial_through(through.transport, address.gateway.name, address)


def _exchange(address: Address, through: Link | None) -> HostKey:
    with hung_up(_way_to(address, through)) as way:
        began = time.monotonic()
        try:
            return keys.exchange(way, GREETING_TIMEOUT)
        except IncompatiblePeer as error:
            raise _strange(address, error) from error
        except (paramiko.SSHException, EOFError, OSError) as error:
            raise _not_greeted(address, began) from error


@contextmanager
def _explained(
    address: Address, through: Link | None, client: paramiko.SSHClient
) -> Iterator[None]:
    """Turn what a failed login raises into words that say what to do."""
    began = time.monotonic()
    try:
        yield
    except BadHostKeyException as error:
        raise _mismatch(address, keys.host_key_of(error.key)) from error
    except IncompatiblePeer as error:
        if "host key" not in str(error):
            raise _strange(address, error) from error
        raise _mismatch(address, _exchange(address, through)) from error
    except paramiko.AuthenticationException as error:
        raise HostUnreachable(
            f"{place_of(address)} does not let {address.user} in: {error} Is the public key of"
            f" SSH_KEY_FILE in that account's ~/.ssh/authorized_keys?{_what_it_says(client)}"
        ) from error
    except (paramiko.SSHException, EOFError, OSError) as error:
        if not _has_greeted(client):
            raise _not_greeted(address, began) from error
        raise HostUnreachable(
            f"{place_of(address)} greeted, then the connection could not be made: {error}"
        ) from error


def _what_it_says(client: paramiko.SSHClient) -> str:
    """What the server says to whom it refuses: that an account is closed, or a machine."""
    transport = client.get_transport()
    said = told((transport and transport.get_banner()) or b"")
    return f" The server says: {said}" if said else ""


def _has_greeted(client: paramiko.SSHClient) -> bool:
    transport = client.get_transport()
    return transport is not None and bool(transport.remote_version)


def _mismatch(address: Address, shown: HostKey) -> HostKeyMismatch:
    return HostKeyMismatch(
        f"The host key of {place_of(address)} is not the pinned one. Pinned:"
        f" {keys.fingerprint(address.host_key)}. The server shows: {shown.fingerprint}. If the"
        " server was set up anew, use “Fetch host key” in the admin and confirm the new key;"
        " otherwise somebody may be listening in between."
    )


def _strange(address: Address, error: IncompatiblePeer) -> HostUnreachable:
    """Tell a server that was not to be agreed with: trying again would not help."""
    why = ""
    if "host key" in str(error):
        why = " It may prove its key by SHA-1 only, as OpenSSH did before 7.2: update it."
    return HostUnreachable(f"{place_of(address)} speaks no SSH we know: {error}.{why}")


def _not_greeted(address: Address, began: float) -> HostUnreachable:
    """Tell a server that says nothing from one that hung up, which may do better in a moment."""
    if time.monotonic() - began >= GREETING_TIMEOUT:
        return HostUnreachable(
            f"{place_of(address)} accepts connections, but did not greet within"
            f" {GREETING_TIMEOUT:g} s: is it sshd that listens there?"
        )
    return NotNow(f"{place_of(address)} hung up before it greeted: is it sshd, and is it busy?")
