"""The command: parts are started, rows are run one after the other, and the table is printed."""

import argparse
import os
import random
import shutil
import sys
import tempfile
import time
from contextlib import ExitStack
from pathlib import Path

import django

from tests.chaos.parts import Postgres, Reconcile, Redis, environment_for
from tests.chaos.table import TABLE

SHOWN = 20
LARGE = shutil.ignore_patterns("postgres", "cache", "site-*")


def main() -> int:
    """Print what was seen; 1 where a demand was not met."""
    options = _options()
    with ExitStack() as stack:
        name = stack.enter_context(
            tempfile.TemporaryDirectory(prefix="dm-chaos-", ignore_cleanup_errors=True)
        )
        folder = Path(name)
        redis = Redis(folder)
        stack.callback(redis.kill)
        database = Postgres(folder)
        stack.callback(database.kill)
        key = folder / "client"
        os.environ.update(environment_for(database.url, redis.url, folder / "cache", key))
        django.setup()
        return _run(options, folder, redis, database, key)


def _run(
    options: argparse.Namespace, folder: Path, redis: Redis, database: Postgres, key: Path
) -> int:
    from django.core.management import call_command  # noqa: PLC0415  after the setup

    from tests.chaos.rows import ROWS  # noqa: PLC0415
    from tests.chaos.world import World  # noqa: PLC0415
    from tests.parts.sshd import make_key  # noqa: PLC0415

    call_command("migrate", verbosity=0)
    make_key(key)
    print(f"seed {options.seed}", flush=True)
    broken = 0
    for name in options.rows or TABLE:
        row = TABLE[name]
        runs = options.count or (row.short if options.short else row.count)
        if not runs:
            continue
        began = time.monotonic()
        with ExitStack() as at_end:
            dice = random.Random(f"{options.seed}-{name}")
            world = World(
                folder, redis, database, key, dice, at_end, options.short, not options.no_pace
            )
            at_end.callback(world.end_workers)
            at_end.callback(Reconcile(folder).kill)
            seen = ROWS[name](world, runs)
        took = time.monotonic() - began
        mark = "BROKEN" if world.broken else "ok"
        print(f"{name:>4} {mark}: {row.words}: {runs} runs in {took:.0f} s", flush=True)
        print(f"     demanded: {row.demanded}\n     seen: {seen}", flush=True)
        for words, times in world.notes.most_common(SHOWN):
            print(f"     {times} times: {words}", flush=True)
        if world.broken and options.logs:
            shutil.copytree(folder, options.logs, dirs_exist_ok=True, ignore=LARGE)
        for words in world.broken[:SHOWN]:
            print(f"     broken: {words}", flush=True)
        broken += len(world.broken)
    return 1 if broken else 0


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m tests.chaos", description=__doc__)
    parser.add_argument("rows", nargs="*", metavar="row", help=f"of {', '.join(TABLE)}; none: all")
    parser.add_argument("--count", type=int, default=0, help="how often each")
    parser.add_argument("--seed", type=int, default=random.randrange(10**6))
    parser.add_argument("--short", action="store_true", help="fewer runs, as in the test suite")
    parser.add_argument(
        "--no-pace", action="store_true", help="demand no MB/s: other tests run at the same time"
    )
    parser.add_argument("--logs", type=Path, help="where logs are kept of what was broken")
    options = parser.parse_args()
    if unknown := set(options.rows) - set(TABLE):
        parser.error(f"no row {', '.join(sorted(unknown))}")
    return options


if __name__ == "__main__":
    sys.exit(main())
