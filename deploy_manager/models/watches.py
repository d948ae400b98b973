"""Watches: what was last seen of the processes of a site on one of its servers."""

from django.db import models
from django.db.models import Exists, OuterRef, Q
from django.utils.translation import gettext_lazy as _

from deploy_manager.models.environments import Environment
from deploy_manager.models.message_field import MessageField
from deploy_manager.models.moments import MomentField
from deploy_manager.models.placements import Placement, PlacementQuerySet
from deploy_manager.models.processes import Process
from deploy_manager.models.runs import HostRun
from deploy_manager.models.states import BUSY

LONGEST_MESSAGE = 1000
LONGEST_NAME = 100


class Watch(models.Model):
    """What was last seen of the processes on a server; deleted when its placement is moved."""

    placement = models.OneToOneField(
        Placement, models.CASCADE, related_name="watch", verbose_name=_("placement")
    )
    tried_at = MomentField(_("asked"), null=True)
    seen_at = MomentField(_("seen"), null=True)
    problem = MessageField(_("why its processes are unknown"), longest=LONGEST_MESSAGE)
    supervisor = models.CharField(_("supervisor"), max_length=20, blank=True)
    boot_id = models.CharField(max_length=64, blank=True)
    rebooted_at = MomentField(
        _("rebooted"), null=True, help_text=_("When the server was started, if that was noticed.")
    )
    back_at = MomentField(
        _("back"), null=True, help_text=_("When all processes were first seen to run after that.")
    )
    # How often it was tried in a row to start what was down.
    starts = models.PositiveSmallIntegerField(_("starts"), default=0)
    started_at = MomentField(_("last start"), null=True)
    start_problem = MessageField(_("why they did not start"), longest=LONGEST_MESSAGE)

    class Meta:
        verbose_name = _("watch")
        verbose_name_plural = _("watches")
        default_permissions = ()

    def __str__(self) -> str:
        return f"the processes of {self.placement}"


class SeenProcess(models.Model):
    """An instance of a process on a server, and the state in which it was last seen."""

    class State(models.TextChoices):
        UP = "up", _("up")
        DOWN = "down", _("down")
        RESTARTING = "restarting", _("restarting")
        OLD = "old", _("another release")
        UNKNOWN = "unknown", _("unknown")

    ILL = (State.DOWN, State.RESTARTING, State.OLD)

    watch = models.ForeignKey(
        Watch, models.CASCADE, related_name="processes", verbose_name=_("watch")
    )
    name = models.CharField(_("name"), max_length=LONGEST_NAME)
    instance = models.CharField(_("instance"), max_length=20)
    state = models.CharField(_("state"), max_length=10, choices=State.choices, default=State.UP)
    since = MomentField(_("since"))
    is_confirmed = models.BooleanField(
        _("confirmed"),
        default=False,
        help_text=_("Whether it was seen twice in a row to be well, or not to be."),
    )
    told = models.CharField(
        max_length=10,
        blank=True,
        choices=State.choices,
        help_text=_("The state that people were notified of, until they hear that it is back."),
    )
    message = MessageField(_("message"), longest=LONGEST_MESSAGE)
    releases = models.CharField(_("release"), max_length=300, blank=True)
    # Another text after each restart, as its supervisor counts them.
    restarts = models.CharField(max_length=200, blank=True)

    class Meta:
        ordering = ["name", "instance"]
        verbose_name = _("seen process")
        verbose_name_plural = _("seen processes")
        default_permissions = ()
        constraints = [
            models.UniqueConstraint(
                fields=["watch", "name", "instance"], name="an_instance_is_seen_once_per_server"
            ),
            models.CheckConstraint(
                condition=Q(state__in=["up", "down", "restarting", "old", "unknown"]),
                name="a_seen_process_has_a_known_state",
            ),
        ]

    def __str__(self) -> str:
        return f"{self.name} {self.instance}"

    @property
    def is_ill(self) -> bool:
        return self.state in self.ILL


def watched_placements() -> PlacementQuerySet:
    """Placements on which processes of ours run: something is deployed there, and started by us."""
    ours = (
        Q(own_reload_method=Environment.ReloadMethod.GUNICORN)
        | Q(own_reload_method="", environment__reload_method=Environment.ReloadMethod.GUNICORN)
        | Q(environment__procfile=True)
        | Exists(Process.objects.filter(environment=OuterRef("environment")))
    )
    return Placement.objects.filter(ours, active_release__isnull=False)


def placements_at_rest() -> PlacementQuerySet:
    """Those of them that no deployment works on now."""
    working = HostRun.objects.filter(
        placement=OuterRef("pk"), state__in=BUSY, deployment__state__in=BUSY
    )
    return watched_placements().exclude(Exists(working))
