"""The second act: a package turns out to be vulnerable, and a policy upgrades it on four servers.

The first version that fixes it is broken: the canary shows it, and everything is back as it
was. The next version is good, and arrives on all four. A plain deployment after it, of a
repository that still pins the first one, leaves the good one where it is.
"""

import json
import urllib.request
from collections.abc import Sequence
from pathlib import Path

from django.core.management import call_command

from deploy_manager.models import Environment, Upgrade, UpgradePolicy, UpgradeState
from example_project.demo import inventory, package_index, processes, sites

POLICY = "Security fixes"
ADVISORY = "DEMO-2026-1"
FIRST, BROKEN, GOOD = "1.0", "1.0.1", "1.0.2"
PATIENCE = 300.0
"""Seconds that an upgrade may take on a slow machine."""


def serve_index(
    folder: Path, code: Path, environment: Environment, running: processes.Processes
) -> None:
    """Start the package index that the servers install from; its address is the environment's."""
    index = folder / "index"
    if not package_index.is_filled(index):
        package_index.fill(index, code / "requirements.txt")
    port = inventory.free_port()
    running.start("index", "http.server", str(port), "--bind=127.0.0.1", f"--directory={index}")
    environment.index_url = f"http://127.0.0.1:{port}/simple/"
    environment.save(update_fields=["index_url"])


def play(folder: Path, environment: Environment) -> list[str]:
    """Play it once; return what went otherwise than it should."""
    if Upgrade.objects.filter(stages__environment=environment).exists():
        return []
    _make_policy(environment)
    index = folder / "index"
    _say(f"An advisory appears: {package_index.KIT} before {BROKEN} is vulnerable.")
    package_index.publish(index, BROKEN, is_broken=True)
    _write_advisory(folder / "advisories")
    _call("audit", str(environment))
    _say(f"Each night the policy would look; now it is told to. {BROKEN} is out, and broken:")
    found = _upgrade(environment, UpgradeState.ROLLED_BACK, FIRST)
    if not found:
        package_index.publish(index, GOOD)
        _say(f"{GOOD} is published, and the policy looks again:")
        found = _upgrade(environment, UpgradeState.SUCCEEDED, GOOD)
    if not found:
        _say(f"The repository still pins {FIRST}. It is deployed as it is:")
        found = _deploy(environment, GOOD)
    _call("inventory", str(environment))
    return found


def _make_policy(environment: Environment) -> None:
    policy, made = UpgradePolicy.objects.get_or_create(
        name=POLICY, defaults={"cron": "30 2 * * *", "soak": 0}
    )
    if made:
        policy.turns.create(environment=environment)


def _write_advisory(folder: Path) -> None:
    """One record as https://ossf.github.io/osv-schema/ says."""
    events = [{"introduced": "0"}, {"fixed": BROKEN}]
    package = {"name": package_index.KIT, "ecosystem": "PyPI"}
    record = {
        "schema_version": "1.7.0",
        "id": ADVISORY,
        "modified": "2026-01-01T00:00:00Z",
        "summary": "It greets strangers by the names of others.",
        "affected": [{"package": package, "ranges": [{"type": "ECOSYSTEM", "events": events}]}],
    }
    folder.mkdir(exist_ok=True)
    (folder / f"{ADVISORY}.json").write_text(json.dumps(record))


def _upgrade(environment: Environment, ends: UpgradeState, serves: str) -> list[str]:
    """Run the policy and wait for its upgrade; return what is not as it should be then."""
    before = Upgrade.objects.count()
    _call("policies", POLICY, "--run")

    def has_ended() -> bool:
        return Upgrade.objects.count() > before and not Upgrade.objects.live().exists()

    if not processes.wait_for(has_ended, PATIENCE):
        return ["The upgrade did not end."]
    upgrade = Upgrade.objects.latest("pk")
    state = UpgradeState(upgrade.state)
    told = _greetings(environment)
    print(f"Upgrade {upgrade}: {state.label}. The sites greet with {', '.join(told)}.")
    if state is not ends or set(told) != {serves}:
        return [f"It should have {ends.label}, with {serves} everywhere.", upgrade.message]
    return []


def _deploy(environment: Environment, serves: str) -> list[str]:
    """Deploy what the repository has; return what is not as it should be then."""
    _call("deploy", str(environment))
    told = _greetings(environment)
    print(f"The sites greet with {', '.join(told)}: what the upgrade moved holds.")
    if set(told) != {serves}:
        return [f"A deployment should have left {serves} everywhere."]
    return []


def _greetings(environment: Environment) -> Sequence[str]:
    return [_greeting(address) for address in sites.addresses(environment).values()]


def _greeting(address: str) -> str:
    try:
        with urllib.request.urlopen(f"{address}health/", timeout=10) as answer:  # noqa: S310
            return str(answer.headers["X-Greeting"])
    except OSError as error:
        return str(error)


def _say(text: str) -> None:
    print(f"\n{text}", flush=True)


def _call(*words: str) -> None:
    """Run a command of ours as a user would; some end with a code that says what they found."""
    try:
        call_command(*words)
    except SystemExit:
        return
