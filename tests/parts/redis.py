"""A real Redis on loopback, which keeps nothing."""

from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from tests.parts.processes import find_program, free_port, listens, running


@pytest.fixture(scope="session")
def redis_url(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The URL of a Redis that all tests of this process share."""
    with ExitStack() as stack:
        yield _start(stack, tmp_path_factory.mktemp("redis"))


def _start(stack: ExitStack, folder: Path) -> str:
    port = free_port()
    program = find_program("redis-server", "redis-server")
    options = {"--port": str(port), "--bind": "127.0.0.1", "--save": "", "--dir": str(folder)}
    command = [program, *(word for pair in options.items() for word in pair)]
    stack.enter_context(running(command, lambda: listens(port), folder / "redis.log"))
    return f"redis://127.0.0.1:{port}/0"
