"""Some hosts of a deployment that one worker drives: what is claimed, and what beats.

Every transition is one conditional UPDATE that says whether it won. Who holds a shard holds its
token; whoever lost it can write nothing more, neither here nor on a server. Each transaction that
changes a deployment locks its row first, so that shards never wait for each other in a circle.
"""

from datetime import timedelta
from typing import Any

from django.db import models
from django.db.models import F, Q
from django.db.models.functions import Now
from django.utils.translation import gettext_lazy as _

from deploy_manager.exceptions import ClaimLost
from deploy_manager.models.deployments import Deployment
from deploy_manager.models.releases import Release
from deploy_manager.models.states import BUSY, ShardState, State
from deploy_manager.models.transactions import brief_transaction

LEASE = timedelta(seconds=10)
"""A holder that did not beat for so long holds nothing any more."""

TAKEN_OVER_AT_MOST = 3
"""A deployment that ends every worker which takes it up must not end them all."""


class ShardQuerySet(models.QuerySet["Shard"]):
    def silent(self, for_: timedelta = LEASE) -> "ShardQuerySet":
        """Shards whose holder did not beat for this long, by the database's own clock."""
        return self.filter(state=ShardState.HELD, beat_at__lt=Now() - for_)

    def to_claim(self) -> "ShardQuerySet":
        """Shards that somebody may claim now: nobody holds them, or a silent holder does."""
        silent = Q(state=ShardState.HELD, beat_at__lt=Now() - LEASE)
        too_late = Q(deployment__state=State.QUEUED, deployment__deadline__lt=Now())
        return self.filter(
            Q(state=ShardState.QUEUED) | (silent & Q(taken_over__lt=TAKEN_OVER_AT_MOST)),
            ~too_late,
            deployment__state__in=BUSY,
        )

    def mark_woken(self, pk: int, again_after: timedelta) -> bool:
        """Note that a bell is rung; False where one was, not so long ago."""
        due = Q(woken_at=None) | Q(woken_at__lt=Now() - again_after)
        return bool(self.filter(due, pk=pk).update(woken_at=Now()))

    def claim(self, pk: int, holder: str) -> "Shard | None":
        """Take a shard that is free, or whose holder is silent; None for whoever came second."""
        with brief_transaction():
            found = self.to_claim().filter(pk=pk).values_list("deployment", "state").first()
            if found is None or not Deployment.objects.lock(found[0]):
                return None
            won = (
                self.to_claim()
                .filter(pk=pk, state=found[1])
                .update(
                    state=ShardState.HELD,
                    holder=holder,
                    token=F("token") + 1,
                    batch=0,
                    taken_over=F("taken_over") + int(found[1] == ShardState.HELD),
                    beat_at=Now(),
                )
            )
            if not won:
                return None
            Deployment.objects.begin(found[0])
        return self.select_related("deployment__environment__project").get(pk=pk)


class Shard(models.Model):
    """Up to SLICE_HOSTS hosts of a deployment, claimed by one worker at a time."""

    deployment = models.ForeignKey(
        Deployment, models.CASCADE, related_name="shards", verbose_name=_("deployment")
    )
    number = models.PositiveSmallIntegerField(_("number"))
    state = models.CharField(_("state"), max_length=10, choices=ShardState.choices)
    arrived = models.PositiveSmallIntegerField(
        _("stages done"), default=0, help_text=_("How many stages its hosts have ended.")
    )
    holder = models.CharField(_("holder"), max_length=200, blank=True)
    token = models.PositiveIntegerField(_("fencing token"), default=0)
    taken_over = models.PositiveSmallIntegerField(
        _("taken over"), default=0, help_text=_("How often its holder had fallen silent.")
    )
    beat_at = models.DateTimeField(_("last heartbeat"), null=True)
    woken_at = models.DateTimeField(_("last woken"), null=True)
    batch = models.PositiveBigIntegerField(
        default=0, editable=False, help_text=_("The last batch of changes its holder wrote.")
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
            models.CheckConstraint(
                condition=~Q(state="held") | (Q(token__gt=0) & ~Q(beat_at=None)),
                name="a_held_shard_has_a_token_and_beats",
            ),
        ]

    def __str__(self) -> str:
        return f"shard {self.number} of {self.deployment_id}"

    def held(self) -> models.QuerySet["Shard"]:
        """This shard, as long as it is ours."""
        return Shard.objects.filter(pk=self.pk, state=ShardState.HELD, token=self.token)

    def advance(self, changes: int, **values: Any) -> int:
        """Beat, and reserve `changes` positions. Raises ClaimLost where it is no longer ours.

        To be called in a transaction: it locks the deployment's row, so that positions appear in
        the order in which they were reserved. Returns the last position before the reserved ones.
        `values` are set on the shard, too.
        """
        with brief_transaction():
            if not Deployment.objects.lock(self.deployment_id, changes) or not self._beat(values):
                raise ClaimLost
        sequences = Deployment.objects.values_list("sequence", flat=True)
        return sequences.get(pk=self.deployment_id) - changes

    def _beat(self, values: dict[str, Any]) -> bool:
        return bool(self.held().update(beat_at=Now(), **values))

    def release(self) -> bool:
        """Give it back for another worker to claim at once; False where it was not ours."""
        return bool(self.held().update(state=ShardState.QUEUED, holder="", woken_at=None))

    def set_prepared(self, commit: str, release: Release) -> None:
        """Note what was resolved before any server was touched. Raises ClaimLost."""
        with brief_transaction():
            self.advance(1)
            self.deployment.commit, self.deployment.release = commit, release
            self.deployment.save(update_fields=["commit", "release"])

    def finish(self, state: State, message: str = "") -> bool:
        """End the whole deployment; False where this shard is no longer ours.

        Hosts that never began are skipped, and what became of those that did is unknown.
        """
        try:
            with brief_transaction():
                self.advance(1)
                return self.deployment.end(state, message)
        except ClaimLost:
            return False
