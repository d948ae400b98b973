"""A file being written: complete under its name, or not there at all."""

from __future__ import annotations

import os

from .lean import random_name, suppress

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any


class Putting:
    """Writes beside the target, then renames."""

    def __init__(self, request: dict[str, Any], home: str) -> None:
        self._path = os.path.join(home, request["path"])
        self._beside = f"{self._path}.{random_name(6)}.part"
        self._mode = request["mode"]
        self._file: Any = None
        self.problem = ""
        """Why it can't be written; blank if it can."""

        with self:
            self._file = os.fdopen(
                os.open(self._beside, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb"
            )

    def write(self, data: bytes) -> None:
        with self:
            if self._file is not None:
                self._file.write(data)

    def finish(self) -> str:
        """Rename the file to its target; return the problem, blank if there was none."""
        with self:
            if self._file is not None:
                self._file.flush()
                # Else a power cut after the rename may leave an empty file under the final name.
                os.fsync(self._file.fileno())
                # Not before: what is written is private until it is complete.
                os.fchmod(self._file.fileno(), self._mode)
                self._file.close()
                os.replace(self._beside, self._path)
                self._file = None
        self.give_up()
        return self.problem

    def give_up(self) -> None:
        """Remove the unfinished file."""
        if self._file is not None:
            with suppress(OSError):
                self._file.close()
            with suppress(OSError):
                os.unlink(self._beside)
            self._file = None

    def __enter__(self) -> None:
        """Begin what may fail."""

    def __exit__(self, kind: Any, error: BaseException | None, trace: Any) -> bool:
        """Note a problem, after which nothing more is written."""
        if isinstance(error, OSError):
            self.problem = self.problem or error.strerror or str(error)
            self.give_up()
        return isinstance(error, OSError)
