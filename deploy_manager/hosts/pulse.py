"""Noticing that a server is gone, also behind a gateway or where only its kernel still answers."""

from threading import Thread, Timer

import paramiko

from deploy_manager.hosts.hanging_up import hang_up

ASK_EVERY = 5.0
DEAD_AFTER = 15.0
"""Seconds without an answer after which a connection is given up."""


def keep_pulse(transport: paramiko.Transport) -> None:
    """Ask the server again and again whether it is there; without an answer, hang up.

    What runs on the connection then ends as ConnectionLost, ASK_EVERY + DEAD_AFTER seconds after
    the server was last heard at the latest.
    """
    Thread(target=_ask_while_active, args=(transport,), daemon=True).start()


def _ask_while_active(transport: paramiko.Transport) -> None:
    while transport.is_active():
        transport.join(ASK_EVERY)
        _ask(transport)


def _ask(transport: paramiko.Transport) -> None:
    """Send what every server has to answer (RFC 4254, 4: global requests), be it by a refusal."""
    overdue = Timer(DEAD_AFTER, hang_up, (transport,))
    overdue.daemon = True
    overdue.start()
    try:
        transport.global_request("keepalive@openssh.com", wait=True)
    except (paramiko.SSHException, EOFError, OSError):
        hang_up(transport)
    finally:
        overdue.cancel()
