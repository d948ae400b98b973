"""A site on one server whose release serves, an index with newer versions, and a policy for it."""

from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from django.utils import timezone

from deploy_manager.models import (
    Environment,
    LockFile,
    PolicyRun,
    Release,
    State,
    Step,
    Upgrade,
    UpgradePolicy,
    UpgradeState,
)
from deploy_manager.requirements.completing import complete_pins
from deploy_manager.requirements.pins import lock_digest, lock_text
from deploy_manager.upgrades.policies import run_policy
from deploy_manager.upgrades.progress import advance_upgrade
from tests.owners import owned
from tests.parts.index import Index
from tests.parts.packages import advise, audit, make_environment, place, see

HOW_FAR = UpgradePolicy.HowFar


@dataclass
class Watched:
    """An environment, its policy, and what a package index has."""

    index: Index
    environment: Environment
    policy: UpgradePolicy

    def serve(self, asked: str, environment: Environment | None = None) -> Release:
        """Write that a release serves with the newest pins that fit these requirements."""
        environment = environment or self.environment
        text = lock_text(complete_pins(asked, index_url=self.index.url))
        lock = LockFile.objects.of(lock_digest(text), text)
        release = Release.objects.make(environment, "c" * 40, "Begin", lock)
        environment.placements.update(active_release=release)
        return release

    def add_environment(self, name: str, order: int) -> Environment:
        """Add another one to the policy, on a server of its own, with the same pins."""
        made = make_environment(name, f"{name}-1")
        Environment.objects.filter(pk=made.pk).update(index_url=self.index.url)
        made.refresh_from_db()
        self.policy.turns.create(environment=made, order=order)
        owned(self.policy)
        return made

    def change(self, **fields: Any) -> None:
        UpgradePolicy.objects.filter(pk=self.policy.pk).update(**fields)
        owned(self.policy)

    def run(self) -> str:
        """Run the policy now; return what it says that it did."""
        owned(self.policy)
        return str(run_policy(self.policy).outcome)

    def is_vulnerable(self, fixed_in: str = "1.0.1") -> None:
        """Publish an advisory against the shopkit that serves."""
        advise("PYSEC-1", "shopkit", "1.0", fixed_in=(fixed_in,))

    def end(self, state: UpgradeState) -> Upgrade:
        """Let the newest upgrade have ended in a state."""
        upgrade = Upgrade.objects.latest("pk")
        upgrade.stages.update(state=state)
        Upgrade.objects.filter(pk=upgrade.pk).update(state=state, finished_at=timezone.now())
        return upgrade

    def try_in_vain(self) -> None:
        """Let the newest upgrade have been deployed, with a command that failed on the server."""
        (deployment,) = advance_upgrade(Upgrade.objects.latest("pk").pk)
        Step.objects.filter(host_run__deployment=deployment).update(exit_code=1)
        deployment.end(State.FAILED)

    @property
    def last(self) -> PolicyRun:
        return self.policy.runs.latest("pk")

    def versions(self, upgrade: Upgrade) -> dict[str, str]:
        """What an upgrade installs of each package that moves, wherever it does."""
        return {
            move["name"]: move["after"] for stage in upgrade.stages.all() for move in stage.moves
        }


@pytest.fixture
def watched(package_index: Index, db: None) -> Watched:
    """`shop/production` serves shopkit 1.0 and helper 1.0, and the index has 1.0.1 of shopkit."""
    site = make_environment("production", "one")
    Environment.objects.update(index_url=package_index.url)
    site.refresh_from_db()
    policy = UpgradePolicy.objects.create(name="nightly", cron="0 2 * * *", cooldown=0)
    policy.turns.create(environment=site)
    owned(policy)
    made = Watched(package_index, site, policy)
    package_index.add("shopkit", "1.0")
    package_index.add("helper", "1.0")
    made.serve("shopkit\nhelper\n")
    see(place(site, "one"), "shopkit==1.0", "helper==1.0")
    audit("helper==1.0")
    package_index.add("shopkit", "1.0.1", uploaded=datetime(2026, 1, 1, tzinfo=UTC))
    return made


def days_ago(days: float) -> datetime:
    return timezone.now() - timedelta(days=days)
