"""Deployments: the rows are the queue, and their states change in this module only.

Every transition is one conditional UPDATE that says whether it won. A worker that runs a deployment
holds shards of it (see models.shards).
"""

from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from datetime import timedelta
from functools import partial
from math import ceil
from typing import TYPE_CHECKING, Any

from django.conf import settings
from django.db import IntegrityError, models, transaction
from django.db.models import F, OuterRef, Q, Subquery
from django.db.models.functions import Now
from django.dispatch import Signal
from django.utils import timezone
from django.utils.translation import gettext_lazy as _

from deploy_manager.exceptions import RequestRefused
from deploy_manager.messages import Message
from deploy_manager.models import validators
from deploy_manager.models.decisions import Decided, ReleaseUse
from deploy_manager.models.environments import Environment
from deploy_manager.models.message_field import MessageField
from deploy_manager.models.moments import MomentField
from deploy_manager.models.placements import Placement
from deploy_manager.models.plans import ConfirmedPlan
from deploy_manager.models.releases import Release
from deploy_manager.models.rights import Right
from deploy_manager.models.runs import HostRun, Step, end_hosts, write_steps
from deploy_manager.models.states import BUSY, LIVE, ShardState, State, ends_with_a_time
from deploy_manager.models.transactions import brief_transaction
from deploy_manager.signals import deployment_ended, deployment_requested

if TYPE_CHECKING:
    from deploy_manager.models.shards import Shard

HOLDER_SILENT_AFTER = timedelta(seconds=30)
"""A holder without a heartbeat for so long counts as dead when a deployment is cancelled.

Longer than the lease, after which another worker may take over: a cancel that gives up on a worker
which is only slow would leave the servers in an unknown state.
"""

DEPLOY, UPGRADE, ROLLBACK, CONVERGE = "deploy", "upgrade", "rollback", "converge"
"""Names of the pipelines that code treats in a special way."""

MANAGE_SITE = "manage_site"
"""The recipe whose words a request brings."""

RIGHTS = {
    DEPLOY: Right.DEPLOY,
    CONVERGE: Right.DEPLOY,
    UPGRADE: Right.UPGRADE,
    ROLLBACK: Right.ROLL_BACK,
}


def right_to(recipe: str) -> Right:
    """Return the right on an environment that running a pipeline or recipe there needs."""
    return RIGHTS.get(recipe, Right.RUN_RECIPE)


def cancelled_by(who: str) -> Message:
    """Return why something ended that a person cancelled."""
    return Message(_("Cancelled by %(who)s."), "cancelled", who=who)


class DeploymentQuerySet(models.QuerySet["Deployment"]):
    def live(self) -> "DeploymentQuerySet":
        """Deployments that have not ended yet."""
        return self.filter(state__in=LIVE)

    def busy(self) -> "DeploymentQuerySet":
        """Deployments that hold their environment."""
        return self.filter(state__in=BUSY)

    def request(
        self,
        environment: Environment,
        recipe: str,
        steps: Mapping[Placement, Sequence[dict[str, Any]]],
        waves: Mapping[Placement, int] | None = None,
        shard_hosts: int = 50,
        **fields: Any,
    ) -> "Deployment":
        """Write a deployment, its shards, host runs and their steps in one transaction.

        `steps` are the fields of each placement's steps, in order; `waves` the number of the wave
        it is switched in (default: 1). No shard gets more than `shard_hosts` of the hosts.
        Raises RequestRefused if the environment is busy, unless the new one begins as waiting.
        """
        # Again if the deployment in the way has ended before it could be named, or came meanwhile.
        for _try in range(3):
            try:
                with brief_transaction():
                    deployment = self.create(environment=environment, recipe=recipe, **fields)
                    deployment.write_hosts(steps, waves or {}, shard_hosts)
                return deployment
            except IntegrityError:
                holder = self.busy().filter(environment=environment).first()
                if holder and fields.get("waits") and fields.get("state") == State.QUEUED:
                    fields |= {"state": State.WAITING, "message": holder.describe_as_busy()}
                elif holder:
                    raise RequestRefused(holder.describe_as_busy()) from None
        raise RequestRefused(_("%(site)s was busy just now: try again."), site=environment)

    def promote(self, pk: int) -> bool:
        """Queue a waiting deployment; False if it no longer waits, or another is live there."""
        try:
            with brief_transaction():
                waiting = self.filter(pk=pk, state=State.WAITING)
                changes = {"state": State.QUEUED, "message": "", "sequence": F("sequence") + 1}
                return bool(waiting.update(**changes))
        except IntegrityError:
            return False

    def note_wait(self, pk: int, why: Message) -> bool:
        """Note what a waiting deployment waits for by now; False if that is what its row says."""
        stale = self.filter(pk=pk, state=State.WAITING).exclude(message=why)
        return bool(stale.update(message=why, sequence=F("sequence") + 1))

    def lock(self, pk: int, changes: int = 1) -> bool:
        """Lock a deployment's row until the transaction ends; False if the deployment has ended."""
        # By an UPDATE, since SQLite has no SELECT … FOR UPDATE; it numbers the changes as well.
        busy = self.filter(pk=pk, state__in=BUSY)
        return bool(busy.update(sequence=F("sequence") + changes))

    def begin(self, pk: int) -> bool:
        """Note that a worker took it up, and number it; False if one has before."""
        queued = self.filter(pk=pk, state=State.QUEUED)
        begun = self.model.objects.filter(environment=OuterRef("environment"))
        # No two get the same one, since one deployment of an environment is live at a time.
        last = begun.order_by("-begin_number").values("begin_number")[:1]
        changes = {"state": State.RUNNING, "started_at": Now(), "message": ""}
        return bool(queued.update(begin_number=Subquery(last) + 1, **changes))


class Deployment(Decided):
    """One request to run a recipe or a pipeline on an environment, and how it went."""

    environment = models.ForeignKey(
        Environment, models.PROTECT, related_name="deployments", verbose_name=_("environment")
    )
    recipe = models.CharField(_("recipe"), max_length=50)
    ref = models.CharField(_("branch or tag"), max_length=200, blank=True)
    commit = models.CharField(
        _("commit"), max_length=64, blank=True, help_text=_("Resolved once for all servers.")
    )
    state = models.CharField(_("state"), max_length=15, choices=State.choices, default=State.QUEUED)
    message = MessageField(_("message"), help_text=_("Why it ended as it did."))
    # Null for the command line and for automatic ones, and once the account is deleted: the name
    # stays.
    requested_by = models.ForeignKey(
        settings.AUTH_USER_MODEL,
        models.SET_NULL,
        null=True,
        blank=True,
        related_name="+",
        verbose_name=_("requested by"),
    )
    requested_by_name = models.CharField(
        _("requested as"),
        max_length=200,
        help_text=_("The user's name, or user@host of the command line."),
    )
    source = models.CharField(_("source"), max_length=20, help_text=_("admin, manage.py, api …"))
    reason = models.CharField(_("reason"), max_length=500, blank=True)
    # Null until it is made or chosen, and once it is deleted.
    release = models.ForeignKey(
        Release,
        models.SET_NULL,
        null=True,
        blank=True,
        related_name="deployments",
        verbose_name=_("release"),
    )
    # Indexed, since every list and "the last deployment of each environment" sort by it.
    created_at = MomentField(_("requested"), default=timezone.now, db_index=True)
    started_at = MomentField(_("started"), null=True)
    # A server refuses lower ones than it has seen. Not the key: one that waits for a time or a
    # freeze to end begins after others that were requested later.
    begin_number = models.PositiveIntegerField(
        _("begin number"),
        default=0,
        editable=False,
        help_text=_("Counts the deployments of an environment as they begin. 0: it has not begun."),
    )
    finished_at = MomentField(_("finished"), null=True)
    cancel_requested_at = MomentField(_("cancel requested"), null=True)
    cancel_requested_by_name = models.CharField(_("cancelled by"), max_length=200, blank=True)
    stage = models.PositiveSmallIntegerField(
        _("stage"), default=0, help_text=_("The open stage: its steps may run.")
    )
    opens_at = MomentField(
        _("next wave"), null=True, help_text=_("When the pause between two waves ends.")
    )
    # Null: at once, and without a deadline.
    not_before = MomentField(_("run at"), null=True, blank=True)
    deadline = MomentField(
        _("not after"), null=True, blank=True, help_text=_("Cancelled if it has not begun by then.")
    )
    schedule = models.ForeignKey(
        "Schedule",
        models.SET_NULL,
        null=True,
        blank=True,
        related_name="deployments",
        verbose_name=_("schedule"),
    )
    slot = MomentField(_("time of the schedule"), null=True, blank=True)
    retry_of = models.ForeignKey(
        "self",
        models.SET_NULL,
        null=True,
        blank=True,
        related_name="retries",
        verbose_name=_("retry of"),
    )
    # The release of another environment, whose commit and lock file it brings. Null: none, and once
    # that one is deleted.
    promotes = models.ForeignKey(
        Release,
        models.SET_NULL,
        null=True,
        blank=True,
        related_name="promotions",
        verbose_name=_("promotes"),
    )
    # Null for what no program asked for. Tokens are revoked, not deleted.
    token = models.ForeignKey(
        "Token",
        models.SET_NULL,
        null=True,
        blank=True,
        related_name="deployments",
        verbose_name=_("token"),
    )
    webhook = models.ForeignKey(
        "IncomingWebhook",
        models.SET_NULL,
        null=True,
        blank=True,
        related_name="deployments",
        verbose_name=_("webhook"),
    )
    forced_migrations = models.JSONField(
        _("forced migrations"),
        default=list,
        blank=True,
        validators=[validators.validate_migrations],
        help_text=_("Irreversible migrations that a rollback leaves as they are."),
    )
    arguments = models.JSONField(
        _("command"),
        default=list,
        blank=True,
        validators=[validators.validate_arguments],
        help_text=_("The words after manage.py of a one-off command. Stored and shown as typed."),
    )
    take_back = models.JSONField(
        _("taken back"),
        default=list,
        blank=True,
        help_text=_("Versions of an upgrade or a fix that it was confirmed to take back."),
    )
    # Null: nothing was written down, as by an earlier version.
    plan = models.ForeignKey(
        ConfirmedPlan,
        models.PROTECT,
        null=True,
        blank=True,
        editable=False,
        related_name="deployments",
        verbose_name=_("confirmed plan"),
    )
    approvals_needed = models.PositiveSmallIntegerField(
        _("approvals needed"), default=0, help_text=_("Taken from the environment.")
    )
    approve_by = MomentField(
        _("approve by"),
        null=True,
        blank=True,
        help_text=_("It counts as denied if too few people have approved it by then."),
    )
    breaks_glass = models.BooleanField(
        _("break-glass"),
        default=False,
        help_text=_("Whether it runs without the approvals that its environment needs."),
    )
    sequence = models.PositiveBigIntegerField(
        _("sequence"),
        default=0,
        # Pages ask for what came after the last number they saw: times would not do, as two
        # changes can have the same, and one that is committed later can have an earlier one.
        help_text=_("Counts the changes of this deployment, its hosts, steps and log."),
    )

    objects = DeploymentQuerySet.as_manager()

    class Meta:
        ordering = ["-created_at", "-pk"]
        verbose_name = _("deployment")
        verbose_name_plural = _("deployments")
        default_permissions = ()
        constraints = [
            # The lock on an environment: while a row is queued or running, no other can become so.
            models.UniqueConstraint(
                fields=["environment"],
                condition=Q(state__in=["queued", "running"]),
                name="one_live_deployment_per_environment",
            ),
            models.CheckConstraint(
                condition=~Q(state="skipped") & Q(state__in=State.values),
                name="a_deployment_has_a_known_state",
            ),
            models.CheckConstraint(
                condition=Q(uses__in=ReleaseUse.values), name="a_deployment_uses_a_known_release"
            ),
            models.UniqueConstraint(
                fields=["environment", "begin_number"],
                condition=Q(begin_number__gt=0),
                name="one_deployment_per_begin_number",
            ),
            # Two reconcilers that find the same slot due: the second insert fails. Rows without a
            # schedule are free, since nulls are never equal.
            models.UniqueConstraint(
                fields=["schedule", "slot"], name="one_deployment_per_schedule_and_slot"
            ),
            # Two pushes of a commit, or two webhooks: the second insert fails. A rollback is final,
            # too: the commit it left is not deployed again by a push.
            models.UniqueConstraint(
                fields=["environment", "commit"],
                condition=Q(source="webhook", retry_of=None),
                name="one_deployment_per_pushed_commit",
            ),
            ends_with_a_time("a_deployment_ends_with_a_time"),
        ]

    def __str__(self) -> str:
        return f"#{self.pk} {self.recipe} {self.environment}"

    @property
    def is_live(self) -> bool:
        return self.state in LIVE

    def with_what_it_retries(self) -> "Iterator[Deployment]":
        """Yield it, what it is a retry of, and so on."""
        seen: set[int] = set()
        tried: Deployment | None = self
        # No request leads back to itself, but a row may.
        while tried is not None and tried.pk not in seen:
            seen.add(tried.pk)
            yield tried
            tried = tried.retry_of

    def describe_as_busy(self) -> Message:
        """Return who holds the environment, with what and since when: why another is refused."""
        since = (self.started_at or self.created_at).astimezone(self.environment.zone)
        return Message(
            _("%(site)s is busy: %(recipe)s #%(number)d by %(who)s is %(state)s since %(since)s."),
            site=self.environment,
            recipe=self.recipe,
            number=self.pk,
            who=self.requested_by_name,
            state=State(self.state).label,
            since=f"{since:%Y-%m-%d %H:%M:%S %Z}",
        )

    def write_hosts(
        self,
        steps: Mapping[Placement, Sequence[dict[str, Any]]],
        waves: Mapping[Placement, int],
        shard_hosts: int,
    ) -> None:
        """Write the shards, host runs and steps of a new deployment.

        Only the first shard is queued: its worker resolves what is sent before any other begins.
        The hosts of a wave are spread over all shards, so that workers share each wave.
        """
        shards: list[Shard] = self.shards.bulk_create(
            self.shards.model(
                deployment=self,
                number=index + 1,
                state=ShardState.WAITING if index else ShardState.QUEUED,
                # The others have nothing to do in stage 0, so they count as done with it: else the
                # barrier before stage 1 would wait for them.
                arrived=1 if index else 0,
            )
            for index in range(ceil(len(steps) / shard_hosts))
        )
        runs = HostRun.objects.bulk_create(
            HostRun(
                deployment=self,
                shard=shards[index % len(shards)],
                placement=placement,
                server_name=placement.server.name,
                wave=waves.get(placement, 1),
                release_when_requested_id=placement.active_release_id,
            )
            for index, placement in enumerate(steps)
        )
        write_steps(dict(zip(runs, steps.values(), strict=True)))
        transaction.on_commit(partial(self._send, deployment_requested))

    def end(self, state: State, message: Message | str = "") -> bool:
        """End a deployment that is queued or running; False if it had ended before.

        Hosts that never began are skipped, those that did all they had to do have succeeded, and
        the outcome of a step that runs is unknown; see HostRun.end_of.
        Only for a worker that holds a shard of it (see Shard.finish), or found all holders silent.
        """
        with brief_transaction():
            busy = Deployment.objects.busy().filter(pk=self.pk)
            won = busy.update(
                state=state, message=message, finished_at=Now(), sequence=F("sequence") + 1
            )
            if won:
                self._end_what_is_left(State.SKIPPED)
        return bool(won)

    def put_back(self, why: Message) -> bool:
        """Let a queued deployment wait again, or end it if it was not to wait.

        False if it has begun or ended.
        """
        with brief_transaction():
            queued = Deployment.objects.filter(pk=self.pk, state=State.QUEUED)
            again = {"state": State.WAITING, "message": why, "sequence": F("sequence") + 1}
            if queued.filter(waits=True).update(**again):
                # A worker is to be woken at once when it may begin, however soon that is.
                self.shards.update(woken_at=None)
                return True
            refused = Message.lines(why, _("It had not begun yet. No server was touched."))
            return self._cancel_if(Q(state=State.QUEUED), refused.with_code("request_refused"))

    def pass_by(self) -> bool:
        """Cancel it if its deadline passed before it began; False if it has begun or ended."""
        pending = Q(state__in=[State.WAITING, State.QUEUED], deadline__lt=Now())
        message = Message(_("Its deadline passed before it could begin."), "deadline_passed")
        return self._cancel_if(pending, message)

    def give_way(self, why: Message) -> bool:
        """Cancel it if it waits, as another takes its place; False if it does not wait."""
        return self._cancel_if(Q(state=State.WAITING), why)

    def _cancel_if(self, pending: Q, message: Message) -> bool:
        changes = {"state": State.CANCELLED, "message": message, "finished_at": Now()}
        with brief_transaction():
            mine = Deployment.objects.filter(pending, pk=self.pk)
            won = mine.update(sequence=F("sequence") + 1, **changes)
            if won:
                self._end_what_is_left(State.CANCELLED)
        return bool(won)

    def request_cancel(self, by: str) -> bool:
        """Ask to cancel: if no worker holds it, it ends at once, else its holders stop it.

        If all holders are silent, it ends as *lost*, for the servers may be in any state.
        Returns False if there was nothing to cancel.
        """
        with brief_transaction():
            mine = Deployment.objects.filter(pk=self.pk)
            asked = mine.live().update(
                cancel_requested_at=Now(), cancel_requested_by_name=by, sequence=F("sequence") + 1
            )
            if asked:
                live = mine.live()
                held = self.shards.filter(state=ShardState.HELD)
                running = Step.objects.filter(host_run__deployment=self, state=State.RUNNING)
                ended = 0
                # A step that runs without a holder is between two workers: the next one stops it.
                if not held.exists() and not running.exists():
                    message = cancelled_by(by)
                    ended = live.update(state=State.CANCELLED, finished_at=Now(), message=message)
                elif held and not held.exclude(beat_at__lt=Now() - HOLDER_SILENT_AFTER).exists():
                    message = Message(
                        _("The worker that ran it fell silent: check the servers."), "worker_silent"
                    )
                    ended = live.update(state=State.LOST, finished_at=Now(), message=message)
                if ended:
                    self._end_what_is_left(State.CANCELLED)
        self.refresh_from_db()
        return bool(asked)

    def _end_what_is_left(self, queued_as: State) -> None:
        """End the shards, hosts and steps of a deployment that ended without them."""
        # For the time and the number that the database gave: hosts and steps end with the same.
        self.refresh_from_db()
        self.shards.update(state=ShardState.ENDED)
        transaction.on_commit(partial(self._send, deployment_ended))
        ends: dict[tuple[State, Message], list[HostRun]] = defaultdict(list)
        for host in self.host_runs.filter(state__in=BUSY).prefetch_related("steps"):
            ends[host.end_of(queued_as, self.message)].append(host)
        for (state, message), hosts in ends.items():
            end_hosts(
                hosts,
                state,
                message,
                finished_at=self.finished_at,
                sequence=self.sequence,
                left_as=queued_as,
                why=self.message,
            )
        if self.state == State.FAILED and self.host_runs.filter(state=State.SUCCEEDED).exists():
            Deployment.objects.filter(pk=self.pk).update(state=State.PARTLY_FAILED)
            self.state = State.PARTLY_FAILED  # receivers of deployment_ended are sent this object

    def _send(self, signal: Signal) -> None:
        # Robust: a receiver that fails must not undo or hide what is committed already.
        signal.send_robust(Deployment, deployment=self)
