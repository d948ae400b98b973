"""Connecting to a server by SSH: the socket, gateways, the host key, logging in, keepalive."""

import logging
import random
import socket
import time
from collections.abc import Callable, Iterator
from concurrent.futures import Future
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass
from threading import Event, Thread, Timer
from typing import Any, TypeVar

import fabric
import paramiko
from django.utils.translation import gettext_noop as _
from paramiko.ssh_exception import BadHostKeyException, IncompatiblePeer

from deploy_manager.exceptions import Cancelled, HostKeyMismatch, HostUnreachable
from deploy_manager.hosts import authorities, keys
from deploy_manager.hosts.address import Address
from deploy_manager.hosts.algorithms import SWITCH, not_offered
from deploy_manager.hosts.channel import hang_up, hung_up, one_line
from deploy_manager.hosts.identity import identity_of, name_of_key
from deploy_manager.hosts.keys import HostKey
from deploy_manager.hosts.running import TICK
from deploy_manager.messages import Message

CONNECT_TIMEOUT = 10.0
CHANNEL_TIMEOUT = 15.0
GREETING_TIMEOUT = 10.0
LOGIN_TIMEOUT = 20.0
"""Seconds, as all times here."""

TRIES = 4
"""sshd drops connections at random while many are being made (MaxStartups in sshd_config)."""

FIRST_DELAY = 0.4

KEEPALIVE_INTERVAL = 5.0
DEAD_AFTER = 15.0
"""Seconds without an answer after which a connection is given up."""

Way = socket.socket | paramiko.Channel
Pinned = paramiko.PKey | authorities.Authorities
T = TypeVar("T")

# paramiko logs what it also raises. Without a handler of its own, logging would print it to stderr.
logging.getLogger("paramiko").addHandler(logging.NullHandler())


class NotNow(HostUnreachable):
    """Refused before anything began: the same attempt may succeed in a moment."""

    code = HostUnreachable.code


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
        # fabric closes only a connection that is active, and else leaves the client's socket open.
        hang_up(self.connection)
        hang_up(self.connection.client)
        if self.through is not None:
            self.through.close()


def connect(address: Address, cancelled: Event) -> Link:
    """Return an open connection. Raises HostUnreachable, HostKeyMismatch, Cancelled."""
    return _unless_cancelled(lambda: _link(address, cancelled), cancelled)


def fetch_host_key(address: Address, cancelled: Event | None = None) -> HostKey:
    """Return the key a server presents, without logging in to it, for a person to compare.

    Its gateways are logged in to, so their keys must be pinned. Raises HostUnreachable, and
    Cancelled if `cancelled` is set before the server has answered.
    """
    if address.local:
        raise HostUnreachable(
            _("%(name)s is the worker's own machine, which needs no host key."), name=address.name
        )
    over = cancelled or Event()

    def fetch() -> HostKey:
        with ExitStack() as at_end:
            through = _gateway_link(address, over, at_end)
            return _retry(lambda: _exchange(address, through), over)

    return fetch() if cancelled is None else _unless_cancelled(fetch, cancelled)


def _link(address: Address, cancelled: Event) -> Link:
    with ExitStack() as on_error:
        through = _gateway_link(address, cancelled, on_error)
        link = _retry(lambda: _log_in(address, through), cancelled)
        on_error.pop_all()
    return link


def _gateway_link(address: Address, cancelled: Event, stack: ExitStack) -> Link | None:
    """Connect to the gateway, if there is one that is not this machine; `stack` hangs it up."""
    if address.gateway is None or address.gateway.local:
        return None
    link = _link(address.gateway, cancelled)
    stack.callback(hang_up, link)
    return link


def _retry(attempt: Callable[[], T], cancelled: Event) -> T:
    """Try again after NotNow, with growing random delays so that many workers do not collide."""
    for number in range(TRIES - 1):
        try:
            return attempt()
        except NotNow:
            if cancelled.wait(FIRST_DELAY * 2**number * random.uniform(0.5, 1.0)):  # noqa: S311
                raise Cancelled(_("Cancelled while connecting.")) from None
    return attempt()


def _unless_cancelled(open_it: Callable[[], T], cancelled: Event) -> T:
    """Return what `open_it` returns, in a thread: neither paramiko nor DNS can be interrupted.

    On a cancel the attempt is left to finish in the background, and its result is closed.
    """
    future: Future[T] = Future()

    def fulfil() -> None:
        try:
            future.set_result(open_it())
        except BaseException as error:
            future.set_exception(error)

    def close_result(future: Future[T]) -> None:
        result = None if future.exception() else future.result()
        if isinstance(result, Link):
            result.close()

    Thread(target=fulfil, daemon=True).start()
    while not future.done():
        if cancelled.is_set():
            future.add_done_callback(close_result)
            raise Cancelled(_("Cancelled while connecting."))
        with suppress(TimeoutError):
            future.exception(TICK)
    return future.result()


def place_of(address: Address) -> str:
    """Return how messages name a server: its name and where it is."""
    return f"{address.name} ({address.hostname}:{address.port})"


def _way_to(address: Address, through: Link | None) -> Way:
    """Connect to a server's port, from its gateway if it has one.

    Raises NotNow if the port refuses, HostUnreachable otherwise.
    """
    if through is None or address.gateway is None:
        return _dial(address)
    try:
        return through.transport.open_channel(
            # Last the originator (RFC 4254, 7.2), which sshd only logs: there is none.
            "direct-tcpip",
            (address.hostname, address.port),
            ("", 0),
            timeout=CHANNEL_TIMEOUT,
        )
    except (paramiko.SSHException, EOFError, OSError) as error:
        # The gateway itself answers, but was refused in turn, as we may be by sshd (MaxStartups).
        refused = isinstance(error, paramiko.ChannelException)
        raise (NotNow if refused else HostUnreachable)(
            _("The gateway %(gateway)s can't reach %(address)s: %(error)s."),
            gateway=address.gateway.name,
            address=place_of(address),
            error=error,
        ) from error


def _dial(address: Address) -> socket.socket:
    where = place_of(address)
    try:
        sock = socket.create_connection((address.hostname, address.port), CONNECT_TIMEOUT)
    except (ConnectionRefusedError, ConnectionResetError) as error:
        raise NotNow(
            _("%(where)s refuses connections: check that sshd is running on that port."),
            where=where,
        ) from error
    except TimeoutError as error:
        raise HostUnreachable(
            _(
                "%(where)s did not answer within %(seconds)s s: check the address, "
                "and that a firewall lets the port through."
            ),
            where=where,
            seconds=f"{CONNECT_TIMEOUT:g}",
        ) from error
    except (OSError, UnicodeError) as error:  # UnicodeError: a host name like a..b, by idna
        reason = getattr(error, "strerror", None) or error
        raise HostUnreachable(
            _("%(where)s can't be reached: %(reason)s."), where=where, reason=reason
        ) from error
    # Commands are many small packets: Nagle's algorithm would hold them back.
    sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
    # Keepalive probes are not sent while data is unacknowledged, so a link that drops every
    # packet would go unnoticed for 15 minutes: see tcp(7), TCP_USER_TIMEOUT (Linux only).
    if hasattr(socket, "TCP_USER_TIMEOUT"):
        milliseconds = int(DEAD_AFTER * 1000)
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT, milliseconds)
    return sock


def _log_in(address: Address, through: Link | None) -> Link:
    pinned = _pinned_key(address, through)
    connection = _connection(address, pinned)
    with ExitStack() as on_error:
        on_error.callback(hang_up, connection.client)
        way = _way_to(address, through)
        on_error.callback(hang_up, way)
        # Our own socket: those that paramiko opens have no TCP_USER_TIMEOUT.
        connection.connect_kwargs["sock"] = way
        with _explained(address, through, connection.client):
            connection.open()
        on_error.pop_all()
    _keep_alive(connection.transport)
    return Link(connection, through)


def _connection(address: Address, pinned: Pinned) -> Any:
    """Return a connection that knows one host key, or its authorities, and one identity.

    It reads no ~/.ssh/config.
    """
    connection = fabric.Connection(
        address.hostname,
        user=address.user,
        port=address.port,
        # `Match exec` in an ssh_config runs a command, with the host's name in it.
        config=fabric.Config(lazy=True, overrides={"load_ssh_configs": False}),
        connect_kwargs={
            "timeout": GREETING_TIMEOUT + LOGIN_TIMEOUT,
            "banner_timeout": GREETING_TIMEOUT,
            "auth_timeout": LOGIN_TIMEOUT,
            "channel_timeout": CHANNEL_TIMEOUT,
            # sshd counts each key offered in vain as a failed login (MaxAuthTries).
            "look_for_keys": False,
            "transport_factory": _transports_for(address, pinned),
            **identity_of(address),
        },
    )
    if isinstance(pinned, authorities.Authorities):
        connection.client.set_missing_host_key_policy(authorities.Policy(pinned, address))
        return connection
    # fabric itself sets AutoAddPolicy: a key that is not pinned would be trusted silently.
    connection.client.set_missing_host_key_policy(paramiko.RejectPolicy())
    connection.client.get_host_keys().add(address.known_as, pinned.get_name(), pinned)
    return connection


def _pinned_key(address: Address, through: Link | None) -> Pinned:
    advice = Message(
        _("Use “Fetch host key” in the admin and compare it with the one printed on the server.")
    )
    if not address.host_key.strip():
        shown = _exchange(address, through)
        raise HostKeyMismatch(
            _("No host key is pinned for %(address)s, which presents %(fingerprint)s. %(advice)s"),
            address=place_of(address),
            fingerprint=shown.fingerprint,
            advice=advice,
        )
    try:
        return authorities.read(address.host_key) or keys.read_line(address.host_key)
    except ValueError as error:
        raise HostKeyMismatch(
            _("The host key pinned for %(name)s is not usable: %(error)s %(advice)s"),
            name=address.name,
            error=error,
            advice=advice,
        ) from error


def _transports_for(address: Address, pinned: Pinned) -> Callable[..., paramiko.Transport]:
    """Return a factory of transports that ask the server only for a key of the pinned type."""
    refused = not_offered(address.legacy_algorithms)

    # Otherwise paramiko negotiates the type it likes best, and a server with several keys presents
    # one that was never pinned.
    def make(way: Way, **options: Any) -> paramiko.Transport:
        if isinstance(pinned, authorities.Authorities):
            return authorities.Transport(way, **{**options, "disabled_algorithms": refused})
        transport = paramiko.Transport(way, **{**options, "disabled_algorithms": refused})
        transport.get_security_options().key_types = keys.algorithms_of(pinned)
        return transport

    return make


def _exchange(address: Address, through: Link | None) -> HostKey:
    """Return the key that a server proves to have: key exchange only, no authentication is sent."""
    with hung_up(_way_to(address, through)) as way:
        began = time.monotonic()
        try:
            refused = not_offered(address.legacy_algorithms)
            transport = paramiko.Transport(way, disabled_algorithms=refused)
            transport.banner_timeout = GREETING_TIMEOUT
            with hung_up(transport):
                transport.start_client(timeout=GREETING_TIMEOUT)
                return keys.host_key_of(transport.get_remote_server_key())
        except IncompatiblePeer as error:
            raise _incompatible(address, error) from error
        except (paramiko.SSHException, EOFError, OSError) as error:
            raise _not_greeted(address, began) from error


@contextmanager
def _explained(
    address: Address, through: Link | None, client: paramiko.SSHClient
) -> Iterator[None]:
    """Turn what paramiko raises for a failed login into errors that say what to do."""
    began = time.monotonic()
    try:
        yield
    except BadHostKeyException as error:
        raise _mismatch(address, keys.host_key_of(error.key)) from error
    except authorities.NotCertified as error:
        raise _not_certified(address, error.why) from error
    except IncompatiblePeer as error:
        if "host key" not in str(error):
            raise _incompatible(address, error) from error
        # The server has no key of the pinned type: ask for whichever it has, to show it.
        raise _mismatch(address, _exchange(address, through)) from error
    except paramiko.AuthenticationException as error:
        transport = client.get_transport()
        # The banner is where a server explains that an account is locked, or is being serviced.
        banner = one_line((transport and transport.get_banner()) or b"")
        answer = Message(_(" The server says: %(banner)s"), banner=banner) if banner else ""
        raise HostUnreachable(
            _(
                "%(address)s refuses to log %(user)s in: %(error)s Check that the public "
                "key of %(setting)s is in that account's ~/.ssh/authorized_keys.%(answer)s"
            ),
            setting=name_of_key(address),
            address=place_of(address),
            user=address.user,
            error=error,
            answer=answer,
        ) from error
    except (paramiko.SSHException, EOFError, OSError) as error:
        transport = client.get_transport()
        if transport is None or not transport.remote_version:
            raise _not_greeted(address, began) from error
        raise HostUnreachable(
            _("%(address)s sent its SSH greeting, then the connection failed: %(error)s"),
            address=place_of(address),
            error=error,
        ) from error


def _not_certified(address: Address, why: Message) -> HostKeyMismatch:
    return HostKeyMismatch(
        _("The host key of %(address)s is not certified by its pinned authority: %(why)s"),
        address=place_of(address),
        why=why,
    )


def _mismatch(address: Address, shown: HostKey) -> HostKeyMismatch:
    if keys.is_authority(address.host_key):
        why = Message(
            _("it presents %(fingerprint)s without a certificate: see HostCertificate."),
            fingerprint=shown.fingerprint,
        )
        return _not_certified(address, why)
    return HostKeyMismatch(
        _(
            "The host key of %(address)s is not the pinned one. Pinned: %(pinned)s. The "
            "server presents: %(fingerprint)s. If the server was reinstalled, use "
            "“Fetch host key” in the admin and confirm the new key; otherwise the "
            "connection may be intercepted."
        ),
        address=place_of(address),
        pinned=keys.fingerprint(address.host_key),
        fingerprint=shown.fingerprint,
    )


def _incompatible(address: Address, error: IncompatiblePeer) -> HostUnreachable:
    """Return the error for a server without a common algorithm: trying again would not help."""
    why = Message()
    if "host key" in str(error):
        why = Message(
            _(" It may prove its key by SHA-1 only, as OpenSSH did before 7.2: update it.")
        )
    elif not address.legacy_algorithms:
        why = SWITCH
    return HostUnreachable(
        _("%(address)s has no SSH algorithm we accept: %(error)s.%(why)s"),
        address=place_of(address),
        error=error,
        why=why,
    )


def _not_greeted(address: Address, began: float) -> HostUnreachable:
    """Return the error for a server that stays silent, or NotNow for one that hung up."""
    if time.monotonic() - began >= GREETING_TIMEOUT:
        return HostUnreachable(
            _(
                "%(address)s accepts connections, but sent no SSH greeting within "
                "%(seconds)s s: check that it is sshd that listens there."
            ),
            address=place_of(address),
            seconds=f"{GREETING_TIMEOUT:g}",
        )
    return NotNow(
        _(
            "%(address)s hung up before its SSH greeting: check that it is sshd that "
            "listens there, and that it is not overloaded. After failed logins, newer ones turn an "
            "address away for a while (PerSourcePenalties in sshd_config): wait some minutes."
        ),
        address=place_of(address),
    )


def _keep_alive(transport: paramiko.Transport) -> None:
    """Ask the server again and again whether it is there; without an answer, hang up.

    TCP can't tell: it ends at a gateway, or at a kernel whose processes all hang. What runs on the
    connection then ends as ConnectionLost, at most KEEPALIVE_INTERVAL + DEAD_AFTER seconds after
    the server's last answer.
    """

    def ask_while_active() -> None:
        while transport.is_active():
            transport.join(KEEPALIVE_INTERVAL)
            # paramiko has no time limit for a global request: it waits until the transport ends.
            overdue = Timer(DEAD_AFTER, hang_up, (transport,))
            overdue.daemon = True
            overdue.start()
            try:
                # Every server answers a global request (RFC 4254, 4), if only by a refusal.
                transport.global_request("keepalive@openssh.com", wait=True)
            except (paramiko.SSHException, EOFError, OSError):
                hang_up(transport)
            finally:
                overdue.cancel()

    Thread(target=ask_while_active, daemon=True).start()
