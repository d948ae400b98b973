"""What a server's own test does not see, and would end it: a key of another certificate, a port."""

from __future__ import annotations

import os
import ssl
from collections.abc import Iterator
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from .running import TierError

if TYPE_CHECKING:
    from .files import Wanted

LISTENING = "0A"
"""A state in /proc/net/tcp."""


def check(wanted: Wanted) -> None:
    """Raise TierError for what would fail once it is switched."""
    if wanted.certificate and wanted.certificate_key:
        _check_certificate(wanted.certificate, wanted.certificate_key)
    own = set(_sockets_of(wanted.unit))
    parts = [urlsplit(proof["url"]) for proof in wanted.proofs]
    for host, port in dict.fromkeys((each.hostname or "", each.port or 0) for each in parts):
        for inode in _listening_at(host, port):
            if inode not in own:
                raise TierError(f"{host}:{port} is taken: {_holder(inode)} listens there.")


def _check_certificate(certificate: str, key: str) -> None:
    try:
        # Without a password: one that is asked for would be waited for.
        ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER).load_cert_chain(certificate, key, password="")
    except FileNotFoundError:
        raise TierError(f"The key {key} is not there.") from None
    except (ssl.SSLError, OSError, ValueError) as error:
        reason = getattr(error, "reason", "") or str(error)
        raise TierError(
            f"The certificate {certificate} can't be used with the key {key}: {reason}"
        ) from None


def _listening_at(host: str, port: int) -> Iterator[str]:
    """Yield the inodes of the sockets that listen at an address of IP version 4, or on all."""
    for table in ("tcp", "tcp6"):
        try:
            with open(f"/proc/net/{table}") as file:
                rows = [line.split() for line in file.readlines()[1:]]
        except FileNotFoundError:
            continue
        for row in rows:
            place, _colon, number = row[1].rpartition(":")
            if row[3] == LISTENING and int(number, 16) == port and _covers(place, host):
                yield row[9]


def _covers(place: str, host: str) -> bool:
    if not int(place, 16):
        return True
    try:
        # As the kernel writes it: little endian.
        parts = bytes(int(part) for part in host.split("."))
    except ValueError:
        return False
    return len(place) == 8 and bytes.fromhex(place)[::-1] == parts


def _sockets_of(unit: str) -> Iterator[str]:
    for pid in _pids():
        try:
            with open(f"/proc/{pid}/cgroup") as file:
                is_its = f"/{unit}\n" in file.read()
        except OSError:  # it has ended meanwhile
            continue
        if is_its:
            yield from _sockets(pid)


def _holder(inode: str) -> str:
    for pid in _pids():
        if inode in _sockets(pid):
            with open(f"/proc/{pid}/comm") as file:
                return f"{file.read().strip()} (process {pid})"
    return "another program"


def _pids() -> list[str]:
    return [name for name in os.listdir("/proc") if name.isdigit()]


def _sockets(pid: str) -> list[str]:
    found = []
    try:
        for name in os.listdir(f"/proc/{pid}/fd"):
            link = os.readlink(f"/proc/{pid}/fd/{name}")
            if link.startswith("socket:["):
                found.append(link[8:-1])
    except OSError:  # it has ended meanwhile
        pass
    return found
