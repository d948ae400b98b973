"""The second act of the demo: a policy upgrades a vulnerable package on four servers.

The first version with a fix is broken: the canary fails, and the upgrade is rolled back. The next
version is good and reaches all four servers. The repository still pins the first version; a plain
deployment of it leaves the good version in place. One more version is then published, for people to
install themselves.
"""

import json
from collections.abc import Sequence
from http.client import HTTPException
from pathlib import Path

from deploy_manager.models import Environment, Upgrade, UpgradePolicy, UpgradeState
from example_project.demo import beginning, commands, inventory, package_index, processes, sites

POLICY = "Security fixes"
ADVISORY = "DEMO-2026-1"
FIRST, BROKEN, GOOD, NEXT = "1.0", "1.0.1", "1.0.2", "1.1"
PATIENCE = 300.0
"""Seconds that an upgrade may take on a slow machine."""


def serve_index(
    folder: Path, code: Path, environment: Environment, running: processes.Processes
) -> None:
    """Start the package index for the servers, and set its address on the environment."""
    index = folder / "index"
    if not package_index.is_filled(index):
        package_index.fill(index, code / "requirements.txt")
    port = inventory.free_port()
    running.start("index", "http.server", str(port), "--bind=127.0.0.1", f"--directory={index}")
    environment.index_url = f"http://127.0.0.1:{port}/simple/"
    environment.save(update_fields=["index_url"])


def play(folder: Path, environment: Environment) -> list[str]:
    """Play the act, once; return the differences from what should happen."""
    if Upgrade.objects.filter(stages__environment=environment).exists():
        return []
    if why := beginning.why_not_now(environment):
        _say(f"An upgrade could not begin, the second act is for another time: {why}")
        return []
    _make_policy(environment)
    index = folder / "index"
    _say(f"An advisory appears: {package_index.KIT} before {BROKEN} is vulnerable.")
    package_index.publish(index, BROKEN, is_broken=True)
    _write_advisory(folder / "advisories")
    commands.run("audit", str(environment))
    _say(f"The policy would look each night; it is run now. {BROKEN} is published, but broken:")
    found = _upgrade(environment, UpgradeState.ROLLED_BACK, FIRST)
    if not found:
        package_index.publish(index, GOOD)
        _say(f"{GOOD} is published, and the policy runs again:")
        found = _upgrade(environment, UpgradeState.SUCCEEDED, GOOD)
    if not found:
        _say(f"The repository still pins {FIRST}. It is deployed as it is:")
        found = _deploy(environment, GOOD)
    commands.run("inventory", str(environment))
    if not found:
        package_index.publish(index, NEXT)
        _say(f"{NEXT} is published, too: you can install it yourself, see docs/quickstart.md.")
    return found


def _make_policy(environment: Environment) -> None:
    policy, made = UpgradePolicy.objects.get_or_create(
        name=POLICY, defaults={"cron": "30 2 * * *", "soak": 0}
    )
    if made:
        policy.turns.create(environment=environment)


def _write_advisory(folder: Path) -> None:
    """Write a record in the format of https://ossf.github.io/osv-schema/."""
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
    """Run the policy and wait for its upgrade; return the differences from what should happen."""
    before = Upgrade.objects.count()
    commands.run("policies", POLICY, "--owner", inventory.USER, "--run")

    def has_ended() -> bool:
        return Upgrade.objects.count() > before and not Upgrade.objects.live().exists()

    if not processes.wait_for(has_ended, PATIENCE):
        return ["The upgrade did not end."]
    upgrade = Upgrade.objects.latest("pk")
    state = UpgradeState(upgrade.state)
    greetings = _greetings(environment)
    print(f"Upgrade {upgrade}: {state.label}. The sites greet with {', '.join(greetings)}.")
    if state is not ends or set(greetings) != {serves}:
        return [f"It should have {ends.label}, with {serves} everywhere.", upgrade.message]
    return []


def _deploy(environment: Environment, serves: str) -> list[str]:
    """Deploy the repository; return the differences from what should happen."""
    commands.run("deploy", str(environment))
    greetings = _greetings(environment)
    print(f"The sites greet with {', '.join(greetings)}: what the upgrade moved holds.")
    if set(greetings) != {serves}:
        return [f"A deployment should have left {serves} everywhere."]
    return []


def _greetings(environment: Environment) -> Sequence[str]:
    greetings = []
    for _name, address in sites.addresses(environment):
        try:
            greetings.append(str(sites.health(address)[0].headers["X-Greeting"]))
        except (OSError, HTTPException) as error:
            greetings.append(str(error))
    return greetings


def _say(text: str) -> None:
    print(f"\n{text}", flush=True)
