"""Fetching by a worker, for a web server that has no key to log in to repositories with.

Both read one mirror: the worker fetches into it, and notes beside it how that went.
"""

import json
import time
from collections.abc import Sequence
from pathlib import Path

from django.utils.translation import gettext_noop as _

from deploy_manager.exceptions import CodeError, DeployManagerError
from deploy_manager.git.mirror import Mirror
from deploy_manager.messages import Message, message_of
from deploy_manager.models import Project
from deploy_manager.signals import fetch_due

FETCHED_WITHIN = 30.0
"""Seconds that a page waits for a worker; large repositories are there at the next try."""

LOOKS_EVERY = 0.1


class WorkersMirror(Mirror):
    """A mirror that this process only reads: a worker updates it."""

    project: Project

    def update(self) -> None:
        """Have a worker fetch, and wait for it. Raises CodeError, also if no worker does."""
        note = note_of(self)
        before = _written_at(note)
        for _receiver, why in fetch_due.send(Project, project=self.project):
            if why:
                raise CodeError(_("No worker was asked to fetch: %(why)s"), why=why)
        deadline = time.monotonic() + FETCHED_WITHIN
        while _written_at(note) == before:
            if time.monotonic() > deadline:
                raise CodeError(
                    _(
                        "No worker has fetched %(project)s within %(seconds)d s. This process has"
                        " no key to log in with, so a worker fetches for it. Check that one runs,"
                        ' and that DEPLOY_MANAGER["CACHE"] is one folder for both, %(folder)s here,'
                        " which this account may read."
                    ),
                    project=self.project,
                    seconds=int(FETCHED_WITHIN),
                    folder=self.folder.parent.parent,
                )
            time.sleep(LOOKS_EVERY)
        if problem := Message.of_json(json.loads(note.read_text())):
            raise CodeError(problem)

    def _fetch_files(self, commit: str, missing: Sequence[str]) -> None:
        """Have a worker fetch: it has all files of all commits then."""
        self.update()


def fetch_and_note(mirror: Mirror) -> None:
    """Update a mirror, and note for who waits that it is done, or why it failed."""
    problem = Message()
    try:
        mirror.update_for_others()
    except DeployManagerError as error:
        problem = message_of(error)
    note = note_of(mirror)
    beside = note.with_suffix(".note")
    beside.write_text(json.dumps(problem.as_json()))
    # As readable as the mirror itself: it has no more than a page shows.
    beside.chmod(0o640)
    beside.replace(note)


def note_of(mirror: Mirror) -> Path:
    """Return the file beside a mirror that is written whenever a worker has fetched."""
    return mirror.folder.with_suffix(".fetched")


def _written_at(note: Path) -> int:
    """Return when it was written, in nanoseconds; 0 if there is none that we may read."""
    try:
        return note.stat().st_mtime_ns
    except OSError:
        return 0
