"""Placements: the servers of each environment, and what was last seen on them."""

from typing import Any

from django.core.exceptions import ValidationError
from django.db import models, transaction
from django.utils.translation import gettext_lazy as _

from deploy_manager.models import validators
from deploy_manager.models.environment_parts import ServingPart, check_target
from deploy_manager.models.environments import Environment
from deploy_manager.models.inventory import Server
from deploy_manager.models.message_field import MessageField
from deploy_manager.models.moments import MomentField
from deploy_manager.models.places import SEEN, MovingQuerySet, forget_moved, here
from deploy_manager.models.shapes import texts_in
from deploy_manager.tiers.listening import PLACEHOLDER as ADDRESS

ROLES_WITHOUT_CODE = frozenset({"database", "cache", "broker", "proxy"})
"""A server with no other roles gets no release: only tiers are there."""


def default_roles() -> list[str]:
    return ["app"]


class PlacementQuerySet(MovingQuerySet["Placement"]):
    def at(self, place: str) -> "PlacementQuerySet":
        """Placements that are at this place now."""
        return self.annotate(here=here()).filter(here=place)

    def moved(self) -> "PlacementQuerySet":
        """Placements that are not where they were seen."""
        return self.exclude(seen_in="").exclude(seen_in=here())

    def update(self, **values: Any) -> int:
        # What is written without its place was seen where the row says.
        if not values.keys().isdisjoint(SEEN):
            values.setdefault("seen_in", here())
        return super().update(**values)

    # As Django's own has it, which this one hides: templates must not call it.
    update.alters_data = True  # type: ignore[attr-defined]


class Placement(models.Model):
    """A server's place in an environment, and what was last seen on it."""

    environment = models.ForeignKey(
        Environment, models.CASCADE, related_name="placements", verbose_name=_("environment")
    )
    server = models.ForeignKey(
        Server, models.PROTECT, related_name="placements", verbose_name=_("server")
    )
    roles = models.JSONField(
        _("roles"), default=default_roles, validators=[validators.validate_roles]
    )
    order = models.PositiveSmallIntegerField(
        _("order"),
        default=1,
        help_text=_(
            "The lowest comes first; equal numbers are sorted by the server's name. The first"
            " server is the canary and runs what runs only once, like migrate."
        ),
    )
    own_deploy_path = models.CharField(
        _("deploy path"),
        max_length=200,
        blank=True,
        validators=[validators.absolute_path_validator],
        help_text=_("Blank: the environment's."),
    )
    own_bind = models.CharField(
        _("address"),
        max_length=200,
        blank=True,
        validators=[validators.bind_validator],
        help_text=_("Blank: the environment's."),
    )
    own_reload_method = models.CharField(
        _("reload"),
        max_length=20,
        choices=ServingPart.ReloadMethod.choices,
        blank=True,
        help_text=_("Blank: the environment's."),
    )
    own_reload_target = models.CharField(
        _("what to reload"),
        max_length=300,
        blank=True,
        validators=[validators.validate_command],
    )
    # Everything from here on was seen on the server. Null or blank: not known yet, or none.
    active_release = models.ForeignKey(
        "Release",
        models.SET_NULL,
        null=True,
        blank=True,
        editable=False,
        related_name="active_on",
        verbose_name=_("active release"),
    )
    activated_at = MomentField(
        _("activated"),
        null=True,
        editable=False,
        help_text=_("When the active release was activated there, or first seen active."),
    )
    complete_releases = models.JSONField(
        _("complete releases"),
        default=list,
        editable=False,
        help_text=_("Names of the complete releases that were last seen on the server."),
    )
    seen_at = MomentField(_("last seen"), null=True, editable=False)
    inventory_at = MomentField(
        _("packages seen"),
        null=True,
        editable=False,
        help_text=_("When the list of installed packages was last read."),
    )
    inventory_tried_at = MomentField(_("packages requested"), null=True, editable=False)
    inventory_problem = MessageField(_("why its packages are unknown"), editable=False)
    implementation = models.CharField(
        _("implementation"), max_length=50, blank=True, editable=False
    )
    python_version = models.CharField(
        _("Python version"), max_length=50, blank=True, editable=False
    )
    platform = models.CharField(_("platform"), max_length=100, blank=True, editable=False)
    libc = models.CharField(_("C library"), max_length=50, blank=True, editable=False)

    seen_in = models.TextField(
        _("seen in"),
        blank=True,
        editable=False,
        help_text=_("The account and the folder that all this was seen in."),
    )
    moved_at = MomentField(
        _("moved"),
        null=True,
        editable=False,
        help_text=_("When it was last moved from where it was seen to serve something."),
    )

    objects = PlacementQuerySet.as_manager()

    class Meta:
        ordering = ["order", "server__name"]
        verbose_name = _("placement")
        verbose_name_plural = _("placements")
        default_permissions = ()
        constraints = [
            # With the path: one server may hold a site several times, as in a rehearsal.
            models.UniqueConstraint(
                fields=["environment", "server", "own_deploy_path"],
                name="one_placement_per_server_and_path",
            ),
        ]

    def __str__(self) -> str:
        return f"{self.environment} on {self.server}"

    def save(self, *args: Any, **options: Any) -> None:
        with transaction.atomic():
            super().save(*args, **options)
            forget_moved(self.pk)
            # By an UPDATE: this object still has what was seen before.
            self.refresh_from_db(fields=["seen_in"])
            if not self.seen_in:
                self.refresh_from_db(fields=["moved_at", "inventory_tried_at", *SEEN])

    @property
    def deploy_path(self) -> str:
        return self.own_deploy_path or self.environment.deploy_path

    @property
    def complete(self) -> tuple[str, ...]:
        """The names of its complete releases, as far as the row can be read."""
        return texts_in(self.complete_releases)

    @property
    def has_code(self) -> bool:
        """Whether releases are sent there."""
        roles = texts_in(self.roles)
        return not roles or not ROLES_WITHOUT_CODE.issuperset(roles)

    @property
    def bind(self) -> str:
        """Where the site's server listens there."""
        text = self.own_bind or self.environment.bind
        return text.replace(ADDRESS, self.server.reached_at)

    @property
    def reload_method(self) -> str:
        return self.own_reload_method or self.environment.reload_method

    @property
    def reload_target(self) -> str:
        """What is reloaded there: one site may be served by nginx here and by Apache there."""
        own, environment = self.own_reload_method, self.environment
        return self.own_reload_target if own else environment.reload_target

    @property
    def place(self) -> str:
        """Where it is now, as `places.here` has it: the account and the folder."""
        return f"{self.server.account} {self.deploy_path}"

    @property
    def is_unknown(self) -> bool:
        """Whether it was moved, and nobody has seen since what is served there."""
        was_seen = self.seen_at is not None or self.active_release_id is not None
        return self.moved_at is not None and not was_seen

    def clean(self) -> None:
        """Raise ValidationError if another environment has the same path on the server, too.

        No constraint can: the path is the environment's, unless the placement has its own.
        """
        check_target(self.own_reload_method, self.own_reload_target, "own_reload_target")
        # A form with errors in these fields is validated all the same.
        if not hasattr(self, "environment") or self.server_id is None:
            return
        others = Placement.objects.filter(server=self.server).exclude(pk=self.pk)
        for other in others.select_related("environment__project"):
            if other.deploy_path == self.deploy_path:
                raise ValidationError(
                    _("%(site)s is deployed to %(path)s on this server already."),
                    params={"site": other.environment, "path": self.deploy_path},
                )
