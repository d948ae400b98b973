"""`python -m example_project.demo`: set up and deploy the demo, and run it until Ctrl-C."""

import argparse
import os
import shutil
import signal
import sys
import time
from contextlib import suppress
from pathlib import Path
from types import FrameType

import django
from django.core.management import call_command

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "example_project.settings")
django.setup()

from deploy_manager.models import Environment  # noqa: E402
from example_project.demo import (  # noqa: E402
    beginning,
    commands,
    failures,
    inventory,
    only_one,
    package_index,
    processes,
    repository,
    second_act,
    sites,
)
from example_project.settings import VAR  # noqa: E402

KEPT = ("secret-key", "demo.lock")
"""Files that --reset keeps, since this process already uses them."""

END_SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
"""SIGHUP comes when the terminal is closed."""

INTERRUPTED = 130
"""Exit code of a check that was interrupted."""

STARTED = float(os.environ.get("DEMO_STARTED", time.time()))


def main() -> int:
    options = _options()
    for number in END_SIGNALS:
        # nohup ignores SIGHUP, so that a closed terminal does not end the demo.
        if number != signal.SIGHUP or signal.getsignal(number) != signal.SIG_IGN:
            signal.signal(number, _interrupt)
    try:
        with only_one.only_one(VAR):
            return _set_up_and_run(VAR, reset=options.reset, stay=not options.check)
    except (only_one.AnotherDemoRuns, package_index.NotFilled) as error:
        print(error, file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("Stopped.")
        return INTERRUPTED if options.check else 0


def _set_up_and_run(folder: Path, *, reset: bool, stay: bool) -> int:
    if reset:
        _remove_data(folder)
    call_command("migrate", verbosity=0)
    password = inventory.make_administrator(folder)
    code = folder / "guestbook"
    if repository.make_repository(code):
        first = package_index.publish(folder / "index", second_act.FIRST)
        repository.add_greeting(code, second_act.FIRST, first)
    processes.end_sites(folder)
    environment = inventory.make_environment(folder, code)
    try:
        return _run(folder, environment, code, password, stay=stay)
    finally:
        processes.end_sites(folder)


def _run(folder: Path, environment: Environment, code: Path, password: str, *, stay: bool) -> int:
    admin = f"http://127.0.0.1:{inventory.free_port()}/"
    with processes.Processes(folder) as running:
        address = admin.removeprefix("http://").rstrip("/")
        running.start("web", "django", "runserver", "--noreload", address)
        options = ["--pool", "threads", "--concurrency", "4", "--loglevel", "info"]
        running.start("worker", "celery", "-A", "example_project", "worker", *options)
        # A process of its own: a worker with --beat would not start a dead beat again.
        running.start("beat", "celery", "-A", "example_project", "beat", "--pidfile=")
        second_act.serve_index(folder, code, environment, running)
        found = _begin(environment)
        if found := [*found, *_problems(running, environment, admin, everywhere=bool(found))]:
            lines = ["The demo failed:", *failures.describe_failures(environment), *found]
            print("\n".join(lines), file=sys.stderr)
            return 1
        _print_addresses(environment, admin, password)
        if found := second_act.play(folder, environment):
            print("\n".join(["The second act failed:", *found]), file=sys.stderr)
            return 1
        if stay:
            # Once more: what the second act printed has moved it far up.
            _print_login(admin, password)
            print("Ctrl-C stops everything.", flush=True)
            while True:
                signal.pause()
    return 0


def _begin(environment: Environment) -> list[str]:
    """Deploy the sites, or start those of an earlier demo; return why nothing can serve."""
    if not processes.wait_for(lambda: not beginning.cancel_leftovers(environment), 60):
        return ["Another demo deploys to the same folder."]
    return beginning.begin(environment, commands.run)


def _problems(
    running: processes.Processes, environment: Environment, admin: str, *, everywhere: bool
) -> list[str]:
    ready = processes.wait_for(lambda: bool(running.given_up()) or sites.answers(admin), 30)
    found = sites.problems(environment, everywhere=everywhere)
    if not ready or running.given_up():
        found.append(running.given_up() or f"{admin} does not answer.")
    return found


def _print_addresses(environment: Environment, admin: str, password: str) -> None:
    _print_login(admin, password)
    for name, address in sites.addresses(environment):
        print(f"Site    {address}   on server {name}")
    print(f"Ready after {time.time() - STARTED:.0f} s.")


def _print_login(admin: str, password: str) -> None:
    print(f"\nAdmin   {admin}   login: {inventory.USER}   password: {password}")


def _remove_data(folder: Path) -> None:
    processes.end_sites(folder)
    for path in folder.iterdir():
        if path.is_dir():
            shutil.rmtree(path)
        elif path.name not in KEPT:
            path.unlink()
    (folder / "broker").mkdir(mode=0o700)


def _interrupt(number: int, frame: FrameType | None) -> None:
    """End in order, once. A second Ctrl-C would stop this, and leave processes running."""
    for each in END_SIGNALS:
        signal.signal(each, signal.SIG_IGN)
    # Not by print, which this may have interrupted. The terminal may be closed already.
    with suppress(OSError):
        os.write(sys.stdout.fileno(), b"\nStopping: this takes a few seconds.\n")
    raise KeyboardInterrupt


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="script/demo", description=__doc__)
    parser.add_argument("--check", action="store_true", help="verify the sites, then stop")
    parser.add_argument("--reset", action="store_true", help="remove the data of an earlier demo")
    return parser.parse_args()


if __name__ == "__main__":
    sys.exit(main())
