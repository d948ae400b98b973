"""The way to a server before SSH begins: a socket that notices when the other side is gone."""

import socket

import paramiko

from deploy_manager.exceptions import HostUnreachable
from deploy_manager.hosts.address import Address
from deploy_manager.hosts.pulse import DEAD_AFTER

CONNECT_TIMEOUT = 10.0
CHANNEL_TIMEOUT = 15.0


class NotNow(HostUnreachable):
    """Turned away before anything began: the same try may do better in a moment."""


def dial(address: Address) -> socket.socket:
    """Connect to a server's port. Raises NotNow where it refuses, HostUnreachable otherwise."""
    where = place_of(address)
    try:
        sock = socket.create_connection((address.hostname, address.port), CONNECT_TIMEOUT)
    except (ConnectionRefusedError, ConnectionResetError) as error:
        raise NotNow(f"{where} refuses connections: is sshd running on that port?") from error
    except TimeoutError as error:
        raise HostUnreachable(
            f"{where} did not answer within {CONNECT_TIMEOUT:g} s: is the address right, and is the"
            " port open?"
        ) from error
    except (OSError, UnicodeError) as error:  # the latter for a name like a..b
        reason = getattr(error, "strerror", None) or error
        raise HostUnreachable(f"{where} can't be reached: {reason}.") from error
    _watch(sock)
    return sock


def dial_through(gateway: paramiko.Transport, name: str, address: Address) -> paramiko.Channel:
    """Connect to a server's port from a gateway. Raises NotNow, HostUnreachable."""
    try:
        return gateway.open_channel(
            "direct-tcpip", (address.hostname, address.port), ("", 0), timeout=CHANNEL_TIMEOUT
        )
    except (paramiko.SSHException, EOFError, OSError) as error:
        text = f"The gateway {name} can't reach {place_of(address)}: {error}."
        refused = isinstance(error, paramiko.ChannelException)
        raise (NotNow if refused else HostUnreachable)(text) from error


def place_of(address: Address) -> str:
    """Return how messages call a server: its name and where it is."""
    return f"{address.name} ({address.hostname}:{address.port})"


def _watch(sock: socket.socket) -> None:
    """Send small packets at once, and let data that nobody acknowledges end the connection.

    Keepalive alone does not notice a link that swallows everything while data is under way; see
    tcp(7), TCP_USER_TIMEOUT.
    """
    sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
    if hasattr(socket, "TCP_USER_TIMEOUT"):
        milliseconds = int(DEAD_AFTER * 1000)
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT, milliseconds)
