"""`script/test --machines -s tests/benchmark_reboots.py`: how soon a site is back after a cut.

A site with a web server, a Celery worker and beat, as units of the account. After each cut of the
power it prints when the site answered again and when the rows said that everything runs, in seconds
after the power was back. Rows are made by rounds every five seconds, as by `reconcile`.
CYCLES=20 in the environment says how many.
"""

import os
import statistics
import time

import pytest

from deploy_manager.recipes import Process
from deploy_manager.watching import rounds
from tests.test_watching_machines import Watched, watched  # noqa: F401  a fixture

pytestmark = [pytest.mark.machines, pytest.mark.django_db(transaction=True)]

CYCLES = int(os.environ.get("CYCLES", "20"))
EVERY = 5.0
PATIENCE = 180.0


def look(*placements: int) -> bool:
    rounds.watch(placements)
    return True


def test_the_site_is_back_and_seen(watched: Watched) -> None:  # noqa: F811
    site = watched.site
    site.run_processes(Process("worker", "worker"), Process("beat", "beat"))
    watched.deploy("r1")
    watched.look()
    answered, seen = [], []
    for number in range(1, CYCLES + 1):
        before = watched.watch.boot_id
        site.machine.cut_power()
        site.machine.switch_on()
        began = time.monotonic()
        back = known = 0.0
        next_round = began
        while not (back and known) and time.monotonic() < began + PATIENCE:
            back = back or (site.said() == "r1" and time.monotonic() - began) or 0.0
            if time.monotonic() >= next_round:
                rounds.wake_for_due(look)
                next_round = time.monotonic() + EVERY
                watch = watched.watch
                is_known = watch.boot_id != before and watch.back_at is not None
                known = known or (is_known and time.monotonic() - began) or 0.0
            time.sleep(0.1)
        print(f"{number:3}: answers after {back:5.1f} s, seen after {known:5.1f} s", flush=True)
        answered.append(back)
        seen.append(known)
    assert all(answered)
    assert all(seen)
    for name, times in {"answers": answered, "seen": seen}.items():
        print(f"{name}: median {statistics.median(times):.1f} s, longest {max(times):.1f} s")
