"""The broker `embedded://`: a folder as Celery's broker on one machine, with no server to install.

In the module of your Celery app, `import deploy_manager.embedded`; in `settings.py`

    CELERY_BROKER_URL = "embedded://"
    CELERY_BROKER_TRANSPORT_OPTIONS = {"folder": BASE_DIR / "broker"}

A message is a file that appears complete, by a rename, and belongs to the process that removes it.
Nothing is locked and nothing is written in place, so that any process may be killed at any moment.
Kombu's own `filesystem://` writes in place: a reader may find half a message, and fails.

Who may send and receive is what the folder's mode says: everything in it gets its owner, group and
mode, as far as the account that writes may give them, whatever its umask is. A file that a worker
may not read is passed over with a warning, and tried again with each look at the folder.

A message that a worker had taken when it was killed is lost with it: reconcile wakes another worker
for its row. The broker is independent of deployments and carries a project's other tasks as well.
"""

import hashlib
import logging
import os
import pwd
import stat
import time
import uuid
from collections import defaultdict, deque
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from queue import Empty
from typing import Any
from urllib.parse import quote

from kombu.exceptions import OperationalError
from kombu.transport import TRANSPORT_ALIASES, virtual
from kombu.utils.json import dumps, loads

logger = logging.getLogger(__name__)

ABANDONED_AFTER = 3600
"""Seconds after which a file that a killed process was writing is removed."""

Binding = tuple[str, str, str]
"""A routing key, a pattern and a queue."""


class Channel(virtual.Channel):
    """Keeps queues and bindings as files; kombu does the rest."""

    supports_fanout = True

    def __init__(self, connection: "Transport", **options: Any) -> None:
        super().__init__(connection, **options)
        self._folder = connection.folder
        self._listed: dict[str, deque[str]] = defaultdict(deque)
        """The messages of each queue when it was last listed, the oldest first."""

        self._passed_over: set[Path] = set()
        """Files that a warning was logged about."""

    def _put(self, queue: str, message: dict[str, Any], **options: Any) -> None:
        self._remove_expired(queue)
        # The order of names is the order of time.
        name = f"{time.time_ns():020}-{uuid.uuid4().hex}"
        self._write(self._queue_folder(queue) / name, dumps(message).encode())

    def _get(self, queue: str, timeout: float | None = None) -> Any:
        folder = self._queue_folder(queue)
        for name in self._waiting(queue):
            data = self._take(folder / name)
            if data is None:
                continue
            try:
                return loads(data.decode())
            except ValueError:
                # After a loss of power a file may exist without its content: it is not synced.
                logger.warning("A message of %d bytes in %s can't be read.", len(data), folder)
        raise Empty

    def _waiting(self, queue: str) -> Iterator[str]:
        """Yield listed messages, then new ones: a long queue is not listed for each message."""
        listed = self._listed[queue]
        while listed:
            yield listed.popleft()
        listed.extend(_names(self._queue_folder(queue)))
        while listed:
            yield listed.popleft()

    def _size(self, queue: str) -> int:
        return len(_names(self._queue_folder(queue)))

    def _purge(self, queue: str) -> int:
        folder = self._queue_folder(queue)
        return sum(self._remove(folder / name) for name in _names(folder))

    def _put_fanout(self, exchange: str, message: Any, routing_key: str, **options: Any) -> None:
        for queue in dict.fromkeys(queue for _key, _pattern, queue in self.get_table(exchange)):
            self._put(queue, message)

    def get_table(self, exchange: str) -> list[Binding]:
        """Return the bindings of an exchange, made by any process."""
        folder = self._folder / "exchanges" / _file_name(exchange)
        found = []
        for name in _names(folder):
            with suppress(ValueError):
                key, pattern, queue = loads(self._read(folder / name) or b"")
                found.append((key, pattern, queue))
        return found

    def _queue_bind(self, exchange: str, routing_key: str, pattern: str, queue: str) -> None:
        binding = _binding(routing_key, pattern, queue)
        self._write(self._binding_file(exchange, binding), dumps(binding).encode())

    def queue_unbind(
        self,
        queue: str,
        exchange: str | None = None,
        routing_key: str = "",
        arguments: dict[str, Any] | None = None,
        **options: Any,
    ) -> None:
        exchange = exchange or ""
        super().queue_unbind(queue, exchange, routing_key, arguments, **options)
        kind: Any = self.typeof(exchange)
        bound = kind.prepare_bind(queue, exchange, routing_key, arguments)
        self._binding_file(exchange, _binding(*bound)).unlink(missing_ok=True)

    def _delete(
        self, queue: str, exchange: str, routing_key: str, pattern: str, *args: Any, **options: Any
    ) -> None:
        super()._delete(queue, exchange, routing_key, pattern, *args, **options)
        binding = _binding(routing_key, pattern, queue)
        self._binding_file(exchange, binding).unlink(missing_ok=True)
        self._lifetime_file(queue).unlink(missing_ok=True)
        # Not with what is in it: a message that comes meanwhile must not be lost.
        with suppress(OSError):  # a message has come, or another process removed it
            self._queue_folder(queue).rmdir()

    def prepare_queue_arguments(
        self, arguments: dict[str, Any] | None, **options: Any
    ) -> dict[str, Any]:
        """Keep the lifetime of messages, in seconds, which kombu's virtual transports drop."""
        seconds = options.get("message_ttl")
        lifetime = {} if seconds is None else {"x-message-ttl": int(seconds * 1000)}
        return {**(arguments or {}), **lifetime}

    def _new_queue(self, queue: str, **options: Any) -> None:
        if milliseconds := (options.get("arguments") or {}).get("x-message-ttl"):
            self._write(self._lifetime_file(queue), str(milliseconds).encode())

    def _remove_expired(self, queue: str) -> None:
        """Remove messages past their lifetime: those for a killed worker would stay forever."""
        try:
            milliseconds = int(self._read(self._lifetime_file(queue)) or b"")
        except ValueError:
            return
        oldest = time.time_ns() - milliseconds * 1_000_000
        folder = self._queue_folder(queue)
        for name in _names(folder):
            if name >= f"{oldest:020}":
                break  # names are sorted by time: the others are younger
            self._remove(folder / name)

    def _take(self, path: Path) -> bytes | None:
        """Return the content of a file and remove it; None if it is not this process's to have."""
        data = self._read(path)
        # Of several readers only one can remove the file: the message is its own.
        return data if data is not None and self._remove(path) else None

    def _read(self, path: Path) -> bytes | None:
        """Return the content of a file; None if there is none, or if it can't be read."""
        try:
            return path.read_bytes()
        except FileNotFoundError:
            return None
        except OSError as error:
            self._pass_over(path, error)
            return None

    def _remove(self, path: Path) -> bool:
        """Remove a file; return whether it was this process that removed it."""
        try:
            path.unlink()
        except FileNotFoundError:
            return False
        except OSError as error:
            self._pass_over(path, error)
            return False
        return True

    def _pass_over(self, path: Path, error: OSError) -> None:
        """Warn once of a file that can't be used. It stays: people may mend what is wrong."""
        if path in self._passed_over:
            return
        self._passed_over.add(path)
        logger.warning(
            "The account %s can't use %s (%s). It is passed over, and what came after it is not."
            " Give it to that account, or remove it.",
            _own_account(),
            path,
            error.strerror or error,
        )

    def _write(self, target: Path, data: bytes) -> None:
        """Write a file that appears complete."""
        part = self._folder / "parts" / uuid.uuid4().hex
        try:
            with open(part, "xb", buffering=0) as file:
                _share(file.fileno(), self._folder)
                file.write(data)
            try:
                part.rename(target)
            except FileNotFoundError:
                # The folder is made only now: it exists for all messages but a queue's first.
                self._make_folder(target.parent)
                part.rename(target)
        finally:
            part.unlink(missing_ok=True)

    def _make_folder(self, folder: Path) -> None:
        """Make a folder, and those above it; each appears with its mode. Raises OSError."""
        if folder.is_dir():
            return
        self._make_folder(folder.parent)
        part = self._folder / "parts" / uuid.uuid4().hex
        part.mkdir()
        _share(part, self._folder)
        try:
            part.rename(folder)
        except OSError:
            part.rmdir()
            if not folder.is_dir():  # else another process was quicker
                raise

    def _queue_folder(self, queue: str) -> Path:
        return self._folder / "queues" / _file_name(queue)

    def _lifetime_file(self, queue: str) -> Path:
        return self._folder / "lifetimes" / _file_name(queue)

    def _binding_file(self, exchange: str, binding: Binding) -> Path:
        name = hashlib.sha256(dumps(binding).encode()).hexdigest()
        return self._folder / "exchanges" / _file_name(exchange) / name


class Transport(virtual.Transport):
    """Registers `embedded://` with kombu."""

    Channel = Channel
    global_state = virtual.BrokerState()
    implements = virtual.Transport.implements.extend(
        asynchronous=False, exchange_type=frozenset(["direct", "topic", "fanout"])
    )
    # Of a disk that is full for a while: the worker logs it and connects again.
    connection_errors = (*virtual.Transport.connection_errors, OSError)
    default_port = 0
    driver_type = driver_name = "embedded"
    polling_interval = 0.1
    """Seconds between two polls of the folder."""

    def __init__(self, client: Any, **options: Any) -> None:
        super().__init__(client, **options)
        # Of the process, not of a connection: an exchange that one declares is known to all.
        self.state = self.global_state

    @property
    def folder(self) -> Path:
        """Return the folder of the settings. Raises OperationalError if they name none."""
        client: Any = self.client
        if not (folder := client.transport_options.get("folder")):
            raise OperationalError('CELERY_BROKER_TRANSPORT_OPTIONS names no "folder".')
        return Path(folder)

    def establish_connection(self) -> Any:
        """Make the folder. Raises OperationalError if that is not possible."""
        parts = self.folder / "parts"
        try:
            self.folder.mkdir(mode=0o700, parents=True, exist_ok=True)
            parts.mkdir(exist_ok=True)
            _share(parts, self.folder)
            for path in parts.iterdir():
                with suppress(OSError):  # another process was quicker, or it is another account's
                    if path.stat().st_mtime < time.time() - ABANDONED_AFTER:
                        path.rmdir() if path.is_dir() else path.unlink()
        except OSError as error:
            raise OperationalError(f"The broker's folder can't be used: {error}") from error
        return super().establish_connection()

    def driver_version(self) -> str:
        return "N/A"


def _share(made: Path | int, folder: Path) -> None:
    """Give what this process made the owner, group and mode of the broker's folder, if it may."""
    wanted, facts = folder.stat(), os.stat(made)
    if (wanted.st_uid, wanted.st_gid) != (facts.st_uid, facts.st_gid):
        owner = wanted.st_uid if os.geteuid() == 0 else -1
        with suppress(OSError):  # the folder's group is none of this account's
            os.chown(made, owner, wanted.st_gid)
    mode = stat.S_IMODE(wanted.st_mode)
    with suppress(OSError):  # a file system without modes
        os.chmod(made, mode if stat.S_ISDIR(facts.st_mode) else mode & 0o666)


def _own_account() -> str:
    try:
        return pwd.getpwuid(os.geteuid()).pw_name
    except KeyError:
        return str(os.geteuid())


def _names(folder: Path) -> list[str]:
    try:
        return sorted(os.listdir(folder))
    except FileNotFoundError:
        return []


def _binding(routing_key: str | None, pattern: str | None, queue: str | None) -> Binding:
    return routing_key or "", pattern or "", queue or ""


def _file_name(name: str) -> str:
    """Return a name for a file: no character of it has a meaning in a path."""
    # With a prefix even "." and ".." are plain names.
    return "=" + quote(name, safe="@")


TRANSPORT_ALIASES["embedded"] = "deploy_manager.embedded:Transport"
