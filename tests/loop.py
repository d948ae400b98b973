"""Two sites for `reconcile`: one with which something is wrong, and a healthy one beside it."""

from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime, timedelta

import pytest
from django.contrib.auth.models import User
from django.db.models import QuerySet
from django.utils import timezone

from deploy_manager.deployments.request import DeploymentOptions, request
from deploy_manager.models import (
    Deployment,
    Environment,
    HostRun,
    LockFile,
    Placement,
    PolicyRun,
    Problem,
    Release,
    Resolution,
    Schedule,
    Shard,
    State,
    Upgrade,
    UpgradePolicy,
    UpgradeStage,
    UpgradeState,
)
from deploy_manager.reconcile import reconcile
from tests.inventory import Inventory, claim
from tests.owners import owned


def ago(**parts: float) -> datetime:
    """A moment in the past."""
    return timezone.now() - timedelta(**parts)


@dataclass
class Pair:
    """`shop/bad`, which comes first wherever there is an order, and `shop/good`."""

    bad: Environment
    good: Environment

    @property
    def both(self) -> tuple[Environment, Environment]:
        return self.bad, self.good

    def ask(self, environment: Environment, recipe: str = "ping", **requests: object) -> Deployment:
        options = DeploymentOptions(**requests)  # type: ignore[arg-type]
        return request(
            environment, recipe, source="manage.py", requested_by_name="me@here", options=options
        )

    def reconcile(self, wake: Callable[[int], object] = lambda pk: None) -> list[int]:
        """Reconcile; return the shards that were rung for, and the hosts that were looked at."""
        told: list[int] = []

        def tell(pk: int) -> object:
            told.append(pk)
            return wake(pk)

        reconcile(tell, look=tell)
        return told

    def untold(self, environment: Environment) -> Deployment:
        """What has ended, and a webhook that was not told of it."""
        environment.outgoing_webhooks.create(name="chat", url="https://hooks.example.org/1")
        deployment = self.ask(environment)
        deployment.end(State.FAILED)
        deployment.outgoing_deliveries.all().delete()  # as if whoever ended it had died
        return deployment

    def problems(self) -> dict[str, str]:
        """What is written down, by the name of the environment that it is about."""
        found = Problem.objects.select_related("environment")
        return {each.environment.name if each.environment else "": str(each.text) for each in found}

    def waiting(self, environment: Environment) -> Deployment:
        """What may be queued now, as a time it waited for has come."""
        soon = timezone.now() + timedelta(hours=1)
        deployment = self.ask(environment, "collect_static", not_before=soon)
        Deployment.objects.filter(pk=deployment.pk).update(not_before=timezone.now())
        return deployment

    def silent(self, environment: Environment) -> Shard:
        held = claim(self.ask(environment))
        Shard.objects.filter(pk=held.pk).update(beat_at=ago(minutes=10))
        return held

    def overdue(self, environment: Environment) -> Deployment:
        return self.ask(environment, deadline=timezone.now() - timedelta(seconds=1))

    def pausing(self, environment: Environment) -> Deployment:
        deployment = self.ask(environment)
        Shard.objects.filter(deployment=deployment).update(state="waiting")
        Deployment.objects.filter(pk=deployment.pk).update(
            state=State.RUNNING, opens_at=ago(seconds=1)
        )
        return deployment

    def lost(self, environment: Environment) -> HostRun:
        held = claim(self.ask(environment))
        run = held.deployment.host_runs.get()
        run.steps.update(state=State.RUNNING)
        HostRun.objects.filter(pk=run.pk).update(state=State.RUNNING)
        held.finish(State.LOST, "Look there.")
        return run

    def moved(self, environment: Environment) -> Placement:
        """A placement that served something, moved around our models."""
        environment.placements.update(active_release=self.release(environment))
        here = environment.placements.all()
        QuerySet.update(here, own_deploy_path=f"/srv/{environment.name}")
        return here.get()

    def schedule(self, environment: Environment, recipe: str = "ping") -> Schedule:
        return owned(
            environment.schedules.create(recipe=recipe, cron="* * * * *", looked_at=ago(minutes=2))
        )

    def policy(self, environment: Environment) -> UpgradePolicy:
        policy = UpgradePolicy.objects.create(
            name=environment.name, cron="* * * * *", looked_at=ago(minutes=2)
        )
        policy.turns.create(environment=environment)
        return owned(policy)

    def unapproved(self, environment: Environment) -> Deployment:
        """What nobody has approved in time."""
        Environment.objects.filter(pk=environment.pk).update(approvals_needed=1)
        environment.refresh_from_db()
        deployment = self.ask(environment, "collect_static")
        Deployment.objects.filter(pk=deployment.pk).update(approve_by=ago(seconds=1))
        return deployment

    def question(self, environment: Environment) -> Resolution:
        asker, _made = User.objects.get_or_create(username="eve")
        return Resolution.objects.create(
            kind=Resolution.Kind.PINS, environments=[environment.pk], requested_by=asker
        )

    def release(self, environment: Environment, pins: str = "", commit: str = "c" * 40) -> Release:
        lock = LockFile.objects.of((pins or "0").ljust(64, "0")[:64], pins)
        return Release.objects.make(environment, commit, "Begin", lock)

    def upgrade(self, *environments: Environment, **fields: object) -> Upgrade:
        """An upgrade of what serves, which nobody has begun yet."""
        upgrade = Upgrade.objects.create(
            **{"wanted": [], "requested_by_name": "me@here", "source": "manage.py", **fields}
        )
        for number, environment in enumerate(environments, 1):
            before = self.release(environment)
            environment.placements.update(active_release=before)
            after = LockFile.objects.of("f" * 64, "newer==1\n")
            UpgradeStage.objects.create(
                upgrade=upgrade,
                number=number,
                environment=environment,
                lock_before=before.lock,
                lock_after=after,
                release_before=before,
            )
        return upgrade

    def bring(self, stage: UpgradeStage) -> None:
        """Let the servers serve what a stage brought, beside the release from before."""
        before = stage.release_before
        assert before is not None
        release = Release.objects.make(stage.environment, before.commit, "", stage.lock_after)
        stage.deployment = self.ask(stage.environment, "upgrade", release=release)
        stage.deployment.end(State.SUCCEEDED)
        stage.save()
        stage.environment.placements.update(
            active_release=release, complete_releases=[before.name, release.name]
        )

    def succeeded(self, environment: Environment) -> Upgrade:
        """An upgrade of a policy whose pins are to be handed back."""
        policy = UpgradePolicy.objects.create(
            name=environment.name, cron="0 0 1 1 *", hand_back="branch", is_enabled=False
        )
        run = PolicyRun.objects.create(policy=policy, slot=timezone.now(), outcome="Upgraded.")
        upgrade = self.upgrade(environment, policy_run=run)
        upgrade.stages.update(state=UpgradeState.SUCCEEDED)
        Upgrade.objects.filter(pk=upgrade.pk).update(
            state=UpgradeState.SUCCEEDED, finished_at=timezone.now()
        )
        return upgrade


@pytest.fixture
def pair(inventory: Inventory) -> Pair:
    """`shop/bad` and `shop/good`, each on a local server of its own."""
    first = inventory.environment
    Environment.objects.filter(pk=first.pk).update(name="bad")
    first.refresh_from_db()
    good = Environment.objects.create(
        project=first.project,
        name="good",
        deploy_path=str(inventory.folder),
        reload_method=Environment.ReloadMethod.NONE,
        health_path="",
    )
    placement = inventory.add_server("two")
    placement.environment = good
    placement.save()
    return Pair(first, good)
