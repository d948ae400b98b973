"""The Celery app of `tests/soak_embedded.py`: one task, which notes what it received and when."""

import json
import os
import threading
import time
from pathlib import Path

from celery import Celery

import deploy_manager.embedded  # noqa: F401  the broker embedded://

FOLDER = Path(os.environ["SOAK_FOLDER"])
URL = os.environ.get("SOAK_URL", "embedded://")

app = Celery("soak", set_as_current=False)
app.conf.update(
    broker_url=URL,
    broker_transport_options=json.loads(os.environ["SOAK_OPTIONS"]),
    broker_connection_retry_on_startup=True,
    task_ignore_result=True,
    worker_hijack_root_logger=False,
)
_lock = threading.Lock()


@app.task(name="soak.note")
def note(key: str, sent_at: float) -> None:
    """A line for each message: counted by its key afterwards."""
    line = f"{key} {sent_at!r} {time.time()!r}\n"
    with _lock, (FOLDER / f"received-{os.getpid()}").open("a") as file:
        file.write(line)
