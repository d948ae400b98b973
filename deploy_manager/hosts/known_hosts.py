"""Host keys that a person knows: lines of known_hosts, or what `ssh-keygen -lf` prints."""

import re
from collections.abc import Iterable, Mapping

import paramiko
from paramiko.hostkeys import HostKeyEntry, InvalidHostKey

from deploy_manager.hosts.address import Address
from deploy_manager.hosts.keys import fingerprint

_PRINTED = re.compile(r"(?:\d+ )?(SHA256:[A-Za-z0-9+/]{43})=?(?:\s.*)?")


class KnownKeys:
    """Keys by host, as in known_hosts, and fingerprints that are good for any host."""

    def __init__(self, lines: Iterable[str]) -> None:
        self._fingerprints: set[str] = set()
        self._by_host = paramiko.HostKeys()
        self.unread: list[int] = []
        """The numbers of lines that are neither."""

        for number, line in enumerate(lines, 1):
            stripped = line.strip()
            if stripped and not stripped.startswith("#") and not self._take(stripped):
                self.unread.append(number)

    def _take(self, line: str) -> bool:
        if found := _PRINTED.fullmatch(line):
            self._fingerprints.add(found[1])
            return True
        try:
            # With @revoked or @cert-authority in front it is none: such keys are no host's.
            entry = HostKeyEntry.from_line(line)
        except (InvalidHostKey, paramiko.SSHException, ValueError):
            return False
        if entry is None or entry.key is None:
            return False
        for name in entry.hostnames:
            self._by_host.add(name, entry.key.get_name(), entry.key)
        return True

    def has(self, address: Address, line: str) -> bool:
        """Whether a key is known to be that of a server."""
        printed = fingerprint(line)
        known: Mapping[str, paramiko.PKey] = self._by_host.lookup(address.known_as) or {}
        return printed in self._fingerprints or any(
            str(known[kind].fingerprint) == printed for kind in known
        )
