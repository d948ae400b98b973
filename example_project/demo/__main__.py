"""`python -m example_project.demo`: set up, deploy, and stay until Ctrl-C."""

import argparse
import os
import shutil
import signal
import sys
import time
from pathlib import Path
from types import FrameType

import django
from django.core.management import call_command

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "example_project.settings")
django.setup()

from deploy_manager.models import Deployment, Environment  # noqa: E402
from example_project.demo import (  # noqa: E402
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
"""What this very process uses already, when everything else is forgotten."""

ENDING = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
"""The last one comes when the terminal is closed."""

INTERRUPTED = 130
"""Exit code of a check that was not let end."""

STARTED = float(os.environ.get("DEMO_STARTED", time.time()))


def main() -> int:
    options = _options()
    _listen()
    try:
        with only_one.only_one(VAR):
            return _set_up_and_run(VAR, reset=options.reset, stay=not options.check)
    except (only_one.AnotherDemoRuns, package_index.NotFilled) as error:
        print(error, file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("\nStopped.")
        return INTERRUPTED if options.check else 0


def _set_up_and_run(folder: Path, *, reset: bool, stay: bool) -> int:
    if reset:
        _forget(folder)
    call_command("migrate", verbosity=0)
    password = inventory.make_administrator(folder)
    code = folder / "guestbook"
    if repository.make_repository(code):
        first = package_index.publish(folder / "index", second_act.FIRST)
        repository.add_greeting(code, second_act.FIRST, first)
    processes.end_sites(_deploy_paths(folder))
    environment = inventory.make_environment(folder, code)
    try:
        return _run(folder, environment, code, password, stay=stay)
    finally:
        processes.end_sites(_deploy_paths(folder))


def _run(folder: Path, environment: Environment, code: Path, password: str, *, stay: bool) -> int:
    admin = f"http://127.0.0.1:{inventory.free_port()}/"
    with processes.Processes(folder) as running:
        address = admin.removeprefix("http://").rstrip("/")
        running.start("web", "django", "runserver", "--noreload", address)
        running.start("worker", "celery", *_worker_options())
        # Not inside of the worker, which would not start it again.
        running.start("beat", "celery", "-A", "example_project", "beat", "--pidfile=")
        second_act.serve_index(folder, code, environment, running)
        _deploy(environment)
        if found := _problems(running, environment, admin, repository.newest_commit(code)):
            told = ["The demo failed:", *failures.describe_failures(environment), *found]
            print("\n".join(told), file=sys.stderr)
            return 1
        _say_where(environment, admin, password)
        if found := second_act.play(folder, environment):
            print("\n".join(["The second act failed:", *found]), file=sys.stderr)
            return 1
        if stay:
            _stay()
    return 0


def _deploy(environment: Environment) -> None:
    """Deploy by the same command as a user; what became of it stands on the row."""
    if not processes.wait_for(lambda: not _cancel_what_was_left(environment), 60):
        print("Another demo deploys to the same folder.", file=sys.stderr)
        return
    try:
        call_command("deploy", str(environment))
    except SystemExit as ended:
        if ended.code:
            print("The deployment did not succeed.", file=sys.stderr)


def _cancel_what_was_left(environment: Environment) -> bool:
    """End what a demo that was killed left behind; return whether there is still something."""
    live = Deployment.objects.live().filter(environment=environment)
    for left in live:
        left.request_cancel("the demo")
    return live.exists()


def _problems(
    running: processes.Processes, environment: Environment, admin: str, commit: str
) -> list[str]:
    ready = processes.wait_for(lambda: bool(running.given_up()) or sites.answers(admin), 30)
    found = sites.problems(environment, commit)
    if not ready or running.given_up():
        found.append(running.given_up() or f"{admin} does not answer.")
    return found


def _say_where(environment: Environment, admin: str, password: str) -> None:
    print(f"\nAdmin   {admin}   login: {inventory.USER}   password: {password}")
    for name, address in sites.addresses(environment).items():
        print(f"Site    {address}   on server {name}")
    print(f"Ready after {time.time() - STARTED:.0f} s.")


def _stay() -> None:
    """Until a signal: what dies meanwhile is started again, and ends nothing."""
    print("Ctrl-C stops everything.", flush=True)
    while True:
        signal.pause()


def _worker_options() -> list[str]:
    options = ["--pool", "threads", "--concurrency", "4", "--loglevel", "info"]
    return ["-A", "example_project", "worker", *options]


def _deploy_paths(folder: Path) -> list[Path]:
    return [folder / "sites" / name for name in inventory.SERVERS]


def _forget(folder: Path) -> None:
    processes.end_sites(_deploy_paths(folder))
    for path in folder.iterdir():
        if path.is_dir():
            shutil.rmtree(path)
        elif path.name not in KEPT:
            path.unlink()
    (folder / "broker").mkdir(mode=0o700)


def _listen() -> None:
    """Be told of what ends us; under nohup a closed terminal does not."""
    for number in ENDING:
        if number != signal.SIGHUP or signal.getsignal(number) != signal.SIG_IGN:
            signal.signal(number, _interrupt)


def _interrupt(number: int, frame: FrameType | None) -> None:
    """End in order, once: a second Ctrl-C must not leave anything running."""
    for each in ENDING:
        signal.signal(each, signal.SIG_IGN)
    raise KeyboardInterrupt


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="script/demo", description=__doc__)
    parser.add_argument("--check", action="store_true", help="verify the sites, then end")
    parser.add_argument("--reset", action="store_true", help="forget all of an earlier demo")
    return parser.parse_args()


if __name__ == "__main__":
    sys.exit(main())
