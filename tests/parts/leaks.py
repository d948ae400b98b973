"""Looking for a secret where none may be: command lines, variables, files."""

import base64
import os
import threading
import urllib.parse
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Self


@dataclass
class Leaks:
    """Samples all processes while something runs, and folders whenever it is asked to."""

    needles: tuple[bytes, ...]
    folders: tuple[Path, ...] = ()
    found: list[str] = field(default_factory=list)
    """Where the secret was: never the secret itself, which a test would print."""

    samples: int = 0

    @classmethod
    def of(cls, *secrets: str, folders: Iterable[Path] = ()) -> Self:
        """Look for secrets as they are, in base64 at every offset, and as URLs have them."""
        needles = set()
        for secret in secrets:
            plain = secret.encode()
            needles |= {plain, urllib.parse.quote(secret, safe="").encode()}
            for offset in range(3):
                # The first and the last letters depend on what is beside.
                encoded = base64.b64encode(b"\0" * offset + plain)
                needles.add(encoded[4 if offset else 0 :].rstrip(b"=")[:-2])
        return cls(tuple(sorted(needles)), tuple(folders))

    @contextmanager
    def watched(self) -> Iterator[Self]:
        """Sample processes and folders again and again until the end of the block."""
        over = threading.Event()

        def sample() -> None:
            while not over.is_set():
                self.look_at_processes()
                self.look_at_folders()
                self.samples += 1

        thread = threading.Thread(target=sample)
        thread.start()
        try:
            yield self
        finally:
            over.set()
            thread.join()
            self.look_at_folders()

    def look_at_processes(self) -> None:
        for process in Path("/proc").glob("[0-9]*"):
            for name in ("cmdline", "environ"):
                with suppress(OSError):
                    self._look(f"{name} of {process.name}", (process / name).read_bytes())

    def look_at_folders(self) -> None:
        # By os.walk, which goes on where a folder vanishes.
        for folder in self.folders:
            for parent, _folders, names in os.walk(folder):
                for path in (Path(parent) / name for name in names):
                    with suppress(OSError):
                        if path.is_file():
                            self._look(str(path), path.read_bytes())

    def _look(self, where: str, content: bytes) -> None:
        if any(needle in content for needle in self.needles):
            self.found.append(where)
