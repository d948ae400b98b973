"""Shards: the hosts of a deployment that one worker claims and drives.

Every transition is one conditional UPDATE that says whether it won. The holder of a shard has its
fencing token; a worker that lost the shard can write nothing more, neither here nor on a server.
Each transaction that changes a deployment locks its row first, so that shards never deadlock.
"""

from collections.abc import Callable
from datetime import timedelta
from typing import Any

from django.db import models
from django.db.models import F, Q
from django.db.models.functions import Now
from django.utils.translation import gettext_lazy as _

from deploy_manager.exceptions import ClaimLost
from deploy_manager.messages import Message
from deploy_manager.models.deployments import Deployment
from deploy_manager.models.environments import Environment
from deploy_manager.models.moments import MomentField
from deploy_manager.models.releases import Release
from deploy_manager.models.states import BUSY, ShardState, State
from deploy_manager.models.transactions import brief_transaction

LEASE = timedelta(seconds=10)
"""A holder without a heartbeat for so long has lost its shard to whichever worker claims it."""

TAKEN_OVER_AT_MOST = 3
"""Times: a deployment that kills every worker that takes it up must not kill them all."""


class ShardQuerySet(models.QuerySet["Shard"]):
    def silent(self, for_: timedelta = LEASE) -> "ShardQuerySet":
        """Shards whose holder sent no heartbeat for this long, by the database's own clock."""
        return self.filter(state=ShardState.HELD, beat_at__lt=Now() - for_)

    def to_claim(self) -> "ShardQuerySet":
        """Shards that can be claimed now: those without a holder, or with a silent one."""
        silent = Q(state=ShardState.HELD, beat_at__lt=Now() - LEASE)
        # Else a worker could begin it until the next round of `reconcile` ends it.
        too_late = Q(deployment__state=State.QUEUED, deployment__deadline__lt=Now())
        return self.filter(
            Q(state=ShardState.QUEUED) | (silent & Q(taken_over__lt=TAKEN_OVER_AT_MOST)),
            ~too_late,
            deployment__state__in=BUSY,
        )

    def mark_woken(self, pk: int, again_after: timedelta) -> bool:
        """Note that a worker is woken for it; False if one was, not so long ago."""
        due = Q(woken_at=None) | Q(woken_at__lt=Now() - again_after)
        return bool(self.filter(due, pk=pk).update(woken_at=Now()))

    def claim(
        self, pk: int, holder: str, why_not_begin: Callable[[Deployment], Message] | None = None
    ) -> "Shard | None":
        """Take a shard that is free, or whose holder is silent; None if another worker has it.

        `why_not_begin` says why a queued deployment may not begin any more: then it is put back.
        """
        with brief_transaction():
            found = self.to_claim().filter(pk=pk).values_list("deployment", "state").first()
            if found is None:
                return None
            if why_not_begin and _is_put_back(found[0], why_not_begin):
                return None
            if not Deployment.objects.lock(found[0]):
                return None
            # In the state that was read, which decides whether this is a takeover.
            won = (
                self.to_claim()
                .filter(pk=pk, state=found[1])
                .update(
                    state=ShardState.HELD,
                    holder=holder,
                    # The holder before, if it still lives, has a lower one: its writes fail.
                    token=F("token") + 1,
                    # The new holder's Writer counts from 1: see Writer._write_once.
                    batch=0,
                    taken_over=F("taken_over") + int(found[1] == ShardState.HELD),
                    beat_at=Now(),
                )
            )
            if not won:
                return None
            Deployment.objects.begin(found[0])
        return self.select_related("deployment__environment__project").get(pk=pk)


def _is_put_back(pk: int, why_not_begin: Callable[[Deployment], Message]) -> bool:
    """Put a deployment back if it is queued and may not begin; False if it may."""
    queued = Deployment.objects.filter(pk=pk, state=State.QUEUED)
    deployment = queued.select_related("environment__project").first()
    if deployment is None:
        return False
    # First of all rows: who freezes the environment waits until this has begun, or is seen here.
    Environment.objects.lock(deployment.environment_id)
    why = why_not_begin(deployment)
    return bool(why) and deployment.put_back(why)


class Shard(models.Model):
    """Up to SHARD_HOSTS hosts of a deployment, claimed by one worker at a time."""

    deployment = models.ForeignKey(
        Deployment, models.CASCADE, related_name="shards", verbose_name=_("deployment")
    )
    number = models.PositiveSmallIntegerField(_("number"))
    state = models.CharField(_("state"), max_length=10, choices=ShardState.choices)
    arrived = models.PositiveSmallIntegerField(
        _("stages done"), default=0, help_text=_("How many stages its hosts have completed.")
    )
    holder = models.CharField(_("holder"), max_length=200, blank=True)
    token = models.PositiveIntegerField(_("fencing token"), default=0)
    taken_over = models.PositiveSmallIntegerField(
        _("taken over"), default=0, help_text=_("How often it was claimed from a silent holder.")
    )
    beat_at = MomentField(_("last heartbeat"), null=True)
    woken_at = MomentField(_("last woken"), null=True)
    batch = models.PositiveBigIntegerField(
        default=0, editable=False, help_text=_("The last batch of changes that its holder wrote.")
    )

    objects = ShardQuerySet.as_manager()

    class Meta:
        ordering = ["deployment", "number"]
        verbose_name = _("shard")
        verbose_name_plural = _("shards")
        default_permissions = ()
        constraints = [
            models.UniqueConstraint(
                fields=["deployment", "number"], name="a_shard_has_its_own_number"
            ),
            # Without a heartbeat it would never count as silent, and stay claimed for ever.
            models.CheckConstraint(
                condition=~Q(state="held") | (Q(token__gt=0) & ~Q(beat_at=None)),
                name="a_held_shard_has_a_token_and_beats",
            ),
            models.CheckConstraint(
                condition=Q(state__in=ShardState.values), name="a_shard_has_a_known_state"
            ),
        ]

    def __str__(self) -> str:
        return f"shard {self.number} of {self.deployment_id}"

    def held(self) -> models.QuerySet["Shard"]:
        """This shard, if it is still ours."""
        return Shard.objects.filter(pk=self.pk, state=ShardState.HELD, token=self.token)

    def advance(self, changes: int, **values: Any) -> int:
        """Send a heartbeat and reserve `changes` numbers; set `values` on the shard, too.

        Returns the last number before the reserved ones. Raises ClaimLost if it is no longer ours.
        To be called in a transaction: it locks the deployment's row, so that readers never see a
        number before the ones below it.
        """
        with brief_transaction():
            if not Deployment.objects.lock(self.deployment_id, changes):
                raise ClaimLost
            if not self.held().update(beat_at=Now(), **values):
                raise ClaimLost
        # Still ours, since the row stays locked until the caller's transaction ends.
        sequences = Deployment.objects.values_list("sequence", flat=True)
        return sequences.get(pk=self.deployment_id) - changes

    def release(self) -> bool:
        """Give it back, so that another worker can claim it at once; False if it was not ours."""
        # woken_at, too: else a lost message is sent again only once the last one is old enough.
        return bool(self.held().update(state=ShardState.QUEUED, holder="", woken_at=None))

    def set_prepared(self, commit: str, release: Release) -> None:
        """Note the commit and the release, before any server is touched. Raises ClaimLost."""
        with brief_transaction():
            self.advance(1)
            self.deployment.commit, self.deployment.release = commit, release
            self.deployment.save(update_fields=["commit", "release"])

    def finish(self, state: State, message: Message | str = "") -> bool:
        """End the whole deployment; False if this shard is no longer ours."""
        try:
            with brief_transaction():
                self.advance(1)
                return self.deployment.end(state, message)
        except ClaimLost:
            return False
