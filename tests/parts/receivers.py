"""Who is told in tests: a web server and a mail server on loopback, each in a thread."""

import json
import socketserver
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from email import message_from_bytes
from email.message import Message
from http.server import BaseHTTPRequestHandler
from typing import Any


class Receiver(socketserver.ThreadingTCPServer):
    """A server that keeps what it was told."""

    daemon_threads = True
    status = 200
    """What the web server answers."""

    def __init__(self, handler: type[socketserver.BaseRequestHandler]) -> None:
        super().__init__(("127.0.0.1", 0), handler)
        self.told: list[dict[str, Any]] = []
        self.mails: list[Message] = []
        self.is_over = threading.Event()

    @property
    def port(self) -> int:
        return int(self.server_address[1])


class Webhook(BaseHTTPRequestHandler):
    server: Receiver

    def do_POST(self) -> None:
        length = int(self.headers["Content-Length"])
        self.server.told.append(json.loads(self.rfile.read(length)))
        self.send_response(self.server.status)
        self.send_header("Content-Length", "0")
        self.end_headers()

    def log_message(self, *args: object) -> None:
        """Say nothing."""


class Inbox(Webhook):
    """Keeps each request as it came; its path, headers and body."""

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["Content-Length"]))
        told = {"path": self.path, "headers": dict(self.headers.items()), "body": body}
        self.server.told.append(told)
        self.send_response(self.server.status)
        self.send_header("Location", "/elsewhere/")
        self.send_header("Content-Length", "0")
        self.end_headers()


class Mailbox(socketserver.StreamRequestHandler):
    """As much of SMTP as one mail needs (RFC 5321), and a login that takes everybody."""

    server: Receiver

    def handle(self) -> None:
        self._say(220)
        while line := self.rfile.readline():
            match line.split()[0].upper():
                case b"EHLO":
                    self.wfile.write(b"250-loopback\r\n250 AUTH PLAIN\r\n")
                case b"AUTH":
                    self._say(235)
                case b"DATA":
                    self._say(354)
                    self.server.mails.append(message_from_bytes(b"".join(self._mail())))
                    self._say(250)
                case b"QUIT":
                    return self._say(221)
                case _:
                    self._say(250)
        return None

    def _say(self, code: int) -> None:
        self.wfile.write(f"{code} loopback\r\n".encode())

    def _mail(self) -> Iterator[bytes]:
        while (line := self.rfile.readline()) not in (b".\r\n", b""):
            yield line.removeprefix(b".") if line.startswith(b"..") else line


class Silence(socketserver.BaseRequestHandler):
    """Takes a connection and never answers."""

    server: Receiver

    def handle(self) -> None:
        self.server.is_over.wait(60)


@contextmanager
def receiving(handler: type[socketserver.BaseRequestHandler]) -> Iterator[Receiver]:
    """Serve in a thread, until the block ends."""
    with Receiver(handler) as receiver:
        thread = threading.Thread(target=receiver.serve_forever, args=(0.05,))
        thread.start()
        try:
            yield receiver
        finally:
            receiver.is_over.set()
            receiver.shutdown()
            thread.join()
