"""The command: parts are started, rows are run one after the other, and the table is printed."""

import argparse
import os
import random
import sys
import tempfile
import time
from contextlib import ExitStack
from pathlib import Path

import django

from tests.chaos.parts import Redis, Sweep, environment_for
from tests.parts import postgres


def main() -> int:
    """Print what was seen; 1 where a demand was not met."""
    options = _options()
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="dm-chaos-")))
        redis = Redis(folder)
        stack.callback(redis.kill)
        url = stack.enter_context(postgres.started())
        os.environ.update(environment_for(url, redis.url, folder / "cache"))
        django.setup()
        sweep = Sweep(folder)
        stack.callback(sweep.kill)
        return _run(options, folder, redis)


def _run(options: argparse.Namespace, folder: Path, redis: Redis) -> int:
    from django.core.management import call_command  # noqa: PLC0415  after the setup

    from tests.chaos.rows import ROWS  # noqa: PLC0415
    from tests.chaos.world import World  # noqa: PLC0415

    call_command("migrate", verbosity=0)
    failed = 0
    print(f"seed {options.seed}", flush=True)
    for name in options.rows or ROWS:
        fault, count, short = ROWS[name]
        runs = options.count or (short if options.short else count)
        if not runs:
            continue
        world = World(folder, redis, random.Random(f"{options.seed}-{name}"))
        began = time.monotonic()
        seen = fault(world, runs)
        took = time.monotonic() - began
        mark = "✗" if world.broken else "✓"
        print(f"{mark} {name:>3}  {runs} runs, {took:.0f} s  {fault.__name__}: {seen}", flush=True)
        for words in world.broken[:20]:
            print(f"       {words}", flush=True)
        failed += bool(world.broken)
    return 1 if failed else 0


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m tests.chaos", description=__doc__)
    parser.add_argument("rows", nargs="*", help="numbers of faults; none: all of them")
    parser.add_argument("--count", type=int, default=0, help="how often each")
    parser.add_argument("--seed", type=int, default=random.randrange(10**6))
    parser.add_argument("--short", action="store_true", help="fewer runs, as in the test suite")
    return parser.parse_args()


if __name__ == "__main__":
    sys.exit(main())
