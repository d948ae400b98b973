"""A wire between this machine and a network namespace, which loses, swallows, slows and resets.

Packets go through this process, from one tun device to another one (see tuntap in the kernel's
documentation): what they meet is a real link as far as TCP can tell.
"""

import ctypes
import fcntl
import os
import random
import select
import struct
import subprocess
import time
from collections import deque
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from threading import Event, Thread
from typing import TypeVar

T = TypeVar("T")
TUNSETIFF, IFF_TUN, IFF_NO_PI = 0x400454CA, 0x0001, 0x1000
CLONE_NEWNET = 0x40000000
PACKET_BYTES = 2048
QUEUE_PACKETS = 50
RESET, ACKNOWLEDGES = 0x04, 0x10


@dataclass
class Link:
    """What the wire does to packets; may be changed at any time."""

    address: str
    """Of the other end."""

    namespace: str
    loss: float = 0.0
    is_cut: bool = False
    bytes_a_second: float = 0.0
    resets: bool = False
    """Whether the next packet of each connection is answered by a reset, to both ends."""

    def within(self, do: Callable[[], T]) -> T:
        """Do something in the namespace at the other end."""

        def go_there_and_do() -> T:
            with Path(f"/run/netns/{self.namespace}").open("rb") as namespace:
                if ctypes.CDLL(None).setns(namespace.fileno(), CLONE_NEWNET):
                    raise OSError("this process may not enter a network namespace")
            return do()

        with ThreadPoolExecutor(1) as pool:
            return pool.submit(go_there_and_do).result()


@contextmanager
def open_link(dice: random.Random) -> Iterator[Link]:
    """Yield a link to a new namespace."""
    name = f"dmc{os.getpid() % 100000}"
    subnet = f"10.213.{os.getpid() % 250}"
    with ExitStack() as stack:
        _ip("netns", "add", name)
        stack.callback(_ip, "netns", "del", name)
        near, far = (_open_tun(f"{name}{end}", stack) for end in "ab")
        _ip("link", "set", f"{name}b", "netns", name)
        _ip("addr", "add", f"{subnet}.1", "peer", f"{subnet}.2", "dev", f"{name}a")
        _ip("link", "set", f"{name}a", "up")
        inside = ("-n", name)
        _ip(*inside, "addr", "add", f"{subnet}.2", "peer", f"{subnet}.1", "dev", f"{name}b")
        _ip(*inside, "link", "set", f"{name}b", "up")
        _ip(*inside, "link", "set", "lo", "up")
        link, over = Link(f"{subnet}.2", name), Event()
        pump = Thread(target=Pump(near, far, link, dice).run, args=(over,), daemon=True)
        pump.start()
        stack.callback(pump.join)
        stack.callback(over.set)
        yield link


def _ip(*words: str) -> None:
    subprocess.run(["ip", *words], check=True, capture_output=True)


def _open_tun(name: str, stack: ExitStack) -> int:
    device = os.open("/dev/net/tun", os.O_RDWR | os.O_NONBLOCK)
    stack.callback(os.close, device)
    fcntl.ioctl(device, TUNSETIFF, struct.pack("16sH", name.encode(), IFF_TUN | IFF_NO_PI))
    return device


class Pump:
    """Passes packets on between two devices, as the link allows."""

    def __init__(self, near: int, far: int, link: Link, dice: random.Random) -> None:
        self._link, self._dice = link, dice
        self._other = {near: far, far: near}
        self._waiting: dict[int, deque[bytes]] = {near: deque(), far: deque()}
        self._free_at = {near: 0.0, far: 0.0}

    def run(self, over: Event) -> None:
        """Work until it is over."""
        while not over.is_set():
            patience = 0.005 if any(self._waiting.values()) else 0.1
            for device in select.select(list(self._other), [], [], patience)[0]:
                self._take(device)
            for device in self._waiting:
                self._deliver(device)

    def _take(self, device: int) -> None:
        packet = os.read(device, PACKET_BYTES)
        waiting = self._waiting[self._other[device]]
        if self._link.is_cut or self._dice.random() < self._link.loss:
            return
        if self._link.resets and _is_data(packet):
            _write(device, _reset_of(packet, to_sender=True))
            _write(self._other[device], _reset_of(packet, to_sender=False))
        elif len(waiting) < QUEUE_PACKETS:
            waiting.append(packet)

    def _deliver(self, device: int) -> None:
        now, packets = time.monotonic(), self._waiting[device]
        while packets and now >= self._free_at[device]:
            packet = packets.popleft()
            _write(device, packet)
            if self._link.bytes_a_second:
                takes = len(packet) / self._link.bytes_a_second
                self._free_at[device] = max(now, self._free_at[device]) + takes


def _write(device: int, packet: bytes) -> None:
    with suppress(OSError):  # as a link that is down: the packet is lost
        os.write(device, packet)


def _is_data(packet: bytes) -> bool:
    """Whether it is TCP (RFC 9293) over IPv4, of a connection that stands."""
    if packet[0] >> 4 != 4 or packet[9] != 6:
        return False
    return packet[20 + 13] & (ACKNOWLEDGES | 0x07) == ACKNOWLEDGES


def _reset_of(packet: bytes, to_sender: bool) -> bytes:
    """Return the packet that ends the connection of another one, for one of its ends."""
    source, target = packet[12:16], packet[16:20]
    ports = struct.unpack("!HH", packet[20:24])
    sequence, acknowledged = struct.unpack("!II", packet[24:32])
    if to_sender:
        source, target, ports = target, source, ports[::-1]
        sequence = acknowledged
    tcp = struct.pack("!HHIIBBHHH", *ports, sequence, 0, 5 << 4, RESET, 0, 0, 0)
    pseudo = source + target + struct.pack("!BBH", 0, 6, len(tcp))
    tcp = tcp[:16] + struct.pack("!H", _checksum(pseudo + tcp)) + tcp[18:]
    ip = struct.pack("!BBHHHBBH", 0x45, 0, 40, 0, 0, 64, 6, 0) + source + target
    return ip[:10] + struct.pack("!H", _checksum(ip)) + ip[12:] + tcp


def _checksum(data: bytes) -> int:
    """The checksum of IP and TCP (RFC 1071)."""
    total: int = sum(struct.unpack(f"!{len(data) // 2}H", data))
    while total >> 16:
        total = (total & 0xFFFF) + (total >> 16)
    return ~total & 0xFFFF
