"""Reads a site's `current` a thousand times a second until its input ends; prints what it saw.

A program of its own: nothing that switches may slow it down.
"""

import json
import os
import select
import sys
import time

EVERY = 0.001


def main() -> None:
    current = sys.argv[1]
    seen: set[str] = set()
    reads = missing = incomplete = 0
    due = time.monotonic()
    while not select.select([sys.stdin], [], [], max(0.0, due - time.monotonic()))[0]:
        due = max(due + EVERY, time.monotonic() - 0.1)
        reads += 1
        try:
            target = os.path.join(os.path.dirname(current), os.readlink(current))
        except OSError:
            missing += 1
            continue
        seen.add(target)
        parts = (target, os.path.join(target, "venv"))
        incomplete += not all(os.path.exists(os.path.join(part, ".complete")) for part in parts)
    told = {"reads": reads, "missing": missing, "incomplete": incomplete, "targets": len(seen)}
    sys.stdout.write(json.dumps(told))


if __name__ == "__main__":
    main()
