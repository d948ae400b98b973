"""What was asked for and what became of it. The row is the queue: states change here only.

Every transition is one conditional UPDATE that says whether it won. Who holds a deployment
holds its token; whoever lost it can write nothing more.
"""

from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta
from typing import Any

from django.conf import settings
from django.db import IntegrityError, models, transaction
from django.db.models import F, Q
from django.utils import timezone
from django.utils.translation import gettext, gettext_noop
from django.utils.translation import gettext_lazy as _

from deploy_manager.exceptions import RequestRefused
from deploy_manager.models.inventory import Environment, Placement
from deploy_manager.models.releases import Release
from deploy_manager.models.runs import HostRun, Step
from deploy_manager.models.states import LIVE, State, ends_with_a_time

HOLDER_SILENT_AFTER = timedelta(seconds=30)
"""A holder that did not beat for so long is taken for dead when somebody cancels."""


class DeploymentQuerySet(models.QuerySet["Deployment"]):
    def live(self) -> "DeploymentQuerySet":
        return self.filter(state__in=LIVE)

    def request(
        self,
        environment: Environment,
        recipe: str,
        steps: Mapping[Placement, Sequence[dict[str, Any]]],
        **fields: Any,
    ) -> "Deployment":
        """Write a deployment, its host runs and their steps in one transaction.

        `steps` are the fields of each placement's steps, in order.
        Raises RequestRefused where the environment has a live deployment.
        """
        try:
            with transaction.atomic():
                deployment = self.create(environment=environment, recipe=recipe, **fields)
                runs = HostRun.objects.bulk_create(
                    HostRun(
                        deployment=deployment,
                        placement=placement,
                        server_name=placement.server.name,
                    )
                    for placement in steps
                )
                Step.objects.bulk_create(
                    Step(host_run=run, number=number, **step)
                    for run, planned in zip(runs, steps.values(), strict=True)
                    for number, step in enumerate(planned, 1)
                )
        except IntegrityError:
            holder = self.live().filter(environment=environment).first()
            if holder is None:
                raise
            raise RequestRefused(holder.describe_as_busy()) from None
        return deployment

    def claim(self, pk: int, holder: str) -> "Deployment | None":
        """Take a queued deployment; None for whoever came second."""
        now = timezone.now()
        won = self.filter(pk=pk, state=State.QUEUED).update(
            state=State.RUNNING,
            holder=holder,
            message="",
            token=F("token") + 1,
            position=F("position") + 1,
            started_at=now,
            beat_at=now,
        )
        return self.select_related("environment__project").get(pk=pk) if won else None


class Deployment(models.Model):
    """One request to run a recipe on an environment: who, why, what, and how it went."""

    environment = models.ForeignKey(
        Environment, models.PROTECT, related_name="deployments", verbose_name=_("environment")
    )
    recipe = models.CharField(_("recipe"), max_length=50)
    ref = models.CharField(_("branch or tag"), max_length=200, blank=True)
    commit = models.CharField(
        _("commit"), max_length=64, blank=True, help_text=_("Resolved once, for every server.")
    )
    state = models.CharField(_("state"), max_length=15, choices=State.choices, default=State.QUEUED)
    message = models.TextField(_("message"), blank=True, help_text=_("Why it ended as it did."))
    requested_by = models.ForeignKey(
        settings.AUTH_USER_MODEL,
        models.SET_NULL,
        null=True,
        blank=True,
        related_name="+",
        verbose_name=_("requested by"),
    )
    requested_as = models.CharField(
        _("requested as"),
        max_length=200,
        help_text=_("The user's name, or user@host of the command line."),
    )
    door = models.CharField(_("through"), max_length=20, help_text=_("admin, manage.py or fab"))
    reason = models.CharField(_("reason"), max_length=500, blank=True)
    release = models.ForeignKey(
        Release,
        models.SET_NULL,
        null=True,
        blank=True,
        related_name="deployments",
        verbose_name=_("release"),
    )
    created_at = models.DateTimeField(_("requested"), default=timezone.now, db_index=True)
    started_at = models.DateTimeField(_("started"), null=True)
    finished_at = models.DateTimeField(_("finished"), null=True)
    cancel_requested_at = models.DateTimeField(_("cancel requested"), null=True)
    cancel_requested_as = models.CharField(_("cancelled by"), max_length=200, blank=True)
    holder = models.CharField(_("holder"), max_length=200, blank=True)
    token = models.PositiveIntegerField(_("fencing token"), default=0)
    beat_at = models.DateTimeField(_("last heartbeat"), null=True)
    position = models.PositiveBigIntegerField(
        _("position"),
        default=0,
        help_text=_("Counts every change of this deployment, its hosts, steps and log."),
    )

    objects = DeploymentQuerySet.as_manager()

    class Meta:
        ordering = ["-created_at", "-pk"]
        verbose_name = _("deployment")
        verbose_name_plural = _("deployments")
        default_permissions = ("view",)
        constraints = [
            models.UniqueConstraint(
                fields=["environment"],
                condition=Q(state__in=["queued", "running"]),
                name="one_live_deployment_per_environment",
            ),
            models.CheckConstraint(
                condition=~Q(state="skipped") & Q(state__in=State.values),
                name="a_deployment_has_a_known_state",
            ),
            ends_with_a_time("a_deployment_ends_with_a_time"),
        ]

    def __str__(self) -> str:
        return f"#{self.pk} {self.recipe} {self.environment}"

    @property
    def is_live(self) -> bool:
        return self.state in LIVE

    def describe_as_busy(self) -> str:
        """Who holds the environment, with what, since when: told to whoever comes second."""
        since = timezone.localtime(self.started_at or self.created_at)
        return gettext(
            "%(site)s is busy: %(recipe)s #%(number)d by %(who)s is %(state)s since %(since)s."
        ) % {
            "site": self.environment,
            "recipe": self.recipe,
            "number": self.pk,
            "who": self.requested_as,
            "state": self.get_state_display(),
            "since": f"{since:%Y-%m-%d %H:%M:%S %Z}",
        }

    def _held(self) -> models.QuerySet["Deployment"]:
        return Deployment.objects.filter(pk=self.pk, state=State.RUNNING, token=self.token)

    def advance(self, changes: int) -> int | None:
        """Beat, and reserve `changes` positions; None where the deployment is no longer ours.

        Inside a transaction this locks the row, so that positions appear in the order in which
        they were reserved. Returns the last position before the reserved ones.
        """
        won = self._held().update(position=F("position") + changes, beat_at=timezone.now())
        if not won:
            return None
        return self._held().values_list("position", flat=True).get() - changes

    def set_prepared(self, commit: str, release: Release | None) -> bool:
        """Note what the worker resolved before it went to any server."""
        self.commit, self.release = commit, release
        return bool(self._held().update(commit=commit, release=release, position=F("position") + 1))

    def finish(self, state: State, message: str = "") -> bool:
        """End a running deployment that we hold; False where somebody else did.

        Hosts that never began are skipped, and what became of those that did is unknown.
        """
        now = timezone.now()
        with transaction.atomic():
            won = self._held().update(
                state=state, message=message, finished_at=now, position=F("position") + 1
            )
            if won:
                self._end_what_is_left(now, State.SKIPPED)
        return bool(won)

    def request_cancel(self, by: str) -> bool:
        """Ask to cancel: what is queued ends at once, what runs is stopped by its holder.

        Where the holder is silent nobody would: then the deployment ends as *lost*.
        Returns False where there was nothing to cancel.
        """
        now = timezone.now()
        with transaction.atomic():
            mine = Deployment.objects.filter(pk=self.pk)
            asked = mine.live().update(
                cancel_requested_at=now, cancel_requested_as=by, position=F("position") + 1
            )
            mine.filter(state=State.QUEUED).update(
                state=State.CANCELLED, finished_at=now, message=f"Cancelled by {by}."
            )
            mine.filter(state=State.RUNNING, beat_at__lt=now - HOLDER_SILENT_AFTER).update(
                state=State.LOST,
                finished_at=now,
                message=gettext_noop("The worker that ran it fell silent: look at the servers."),
            )
            self._end_what_is_left(now, State.CANCELLED)
        return bool(asked)

    def _end_what_is_left(self, now: datetime, queued_as: State) -> None:
        """End the hosts and steps of a deployment that ended without them."""
        self.refresh_from_db()
        if self.is_live:
            return
        hosts = HostRun.objects.filter(deployment=self, state__in=LIVE)
        steps = Step.objects.filter(host_run__deployment=self, state__in=LIVE)
        for rows in (hosts, steps):
            ended = {"finished_at": now, "position": self.position, "message": self.message}
            rows.filter(state=State.QUEUED).update(state=queued_as, **ended)
            rows.filter(state=State.RUNNING).update(state=State.LOST, **ended)
