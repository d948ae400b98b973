"""Environments: the sites of a project, and how each is deployed."""

import uuid
from datetime import datetime
from typing import TYPE_CHECKING, Any

from django.core.exceptions import PermissionDenied, ValidationError
from django.db import IntegrityError, models
from django.db.models import F
from django.utils.translation import gettext_lazy as _

from deploy_manager.messages import Message
from deploy_manager.models import validators
from deploy_manager.models.environment_parts import (
    IN_BOTH,
    AllowedTimesPart,
    ApprovalPart,
    GatePart,
    HealthPart,
    PackagesPart,
    RolloutPart,
    ServingPart,
    SitePart,
    names_in_both,
)
from deploy_manager.models.freezes import Freeze
from deploy_manager.models.inventory import Project, Server
from deploy_manager.models.places import Moving, MovingQuerySet
from deploy_manager.models.rights import Right, may
from deploy_manager.models.transactions import brief_transaction

if TYPE_CHECKING:
    from django.contrib.auth.models import User


class EnvironmentQuerySet(MovingQuerySet["Environment"]):
    def named(self, name: str, project: str = "") -> "EnvironmentQuerySet":
        """Environments a person means by `production` or `shop/production`."""
        if not project and "/" in name:
            project, name = name.split("/", 1)
        found = self.filter(name=name)
        return found.filter(project__name=project) if project else found

    def lock(self, pk: int) -> bool:
        """Lock an environment's row until the transaction ends; False if it was deleted."""
        # By an UPDATE, since SQLite has no SELECT … FOR UPDATE.
        return bool(self.filter(pk=pk).update(name=F("name")))


class Environment(
    Moving,
    SitePart,
    PackagesPart,
    ServingPart,
    HealthPart,
    RolloutPart,
    ApprovalPart,
    GatePart,
    AllowedTimesPart,
):
    """One site of a project (production, staging, …): one deploy path, one set of pins."""

    project = models.ForeignKey(
        Project, models.PROTECT, related_name="environments", verbose_name=_("project")
    )
    name = models.CharField(_("name"), max_length=50, validators=[validators.name_validator])
    ref = models.CharField(
        _("branch or tag"), max_length=200, default="main", validators=[validators.validate_ref]
    )
    deploy_path = models.CharField(
        _("deploy path"), max_length=200, validators=[validators.absolute_path_validator]
    )
    # Not the primary key, which two installations that share a server would both begin with 1.
    key = models.UUIDField(
        default=uuid.uuid4,
        unique=True,
        editable=False,
        help_text=_("Names the site in the guards' files on its servers."),
    )
    servers: "models.ManyToManyField[Server, Any]" = models.ManyToManyField(
        Server, through="Placement", related_name="environments", verbose_name=_("servers")
    )

    promotes_from = models.ForeignKey(
        "self",
        models.PROTECT,
        null=True,
        blank=True,
        related_name="promotes_to",
        verbose_name=_("promotes from"),
        help_text=_(
            "New code comes from this environment only, exactly as it serves it: commit and lock"
            " file. Blank: from the repository."
        ),
    )

    objects = EnvironmentQuerySet.as_manager()

    class Meta:
        ordering = ["project__name", "name"]
        verbose_name = _("environment")
        verbose_name_plural = _("environments")
        constraints = [
            models.UniqueConstraint(
                fields=["project", "name"], name="one_environment_of_a_name_per_project"
            ),
        ]
        permissions = [
            ("view_log_environment", "Can view logs of environment"),
            ("deploy_environment", "Can deploy environment"),
            ("roll_back_environment", "Can roll back environment"),
            ("run_recipe_environment", "Can run recipes on environment"),
            ("upgrade_environment", "Can upgrade packages of environment"),
            ("approve_environment", "Can approve deployments to environment"),
            ("freeze_environment", "Can freeze environment"),
            ("change_secrets_environment", "Can change secrets of environment"),
        ]

    def __str__(self) -> str:
        return f"{self.project.name}/{self.name}"

    def clean(self) -> None:
        super().clean()
        secret = [each.name for each in self.secret_variables.all()] if self.pk else []
        if both := names_in_both(self.variables, secret):
            raise ValidationError({"variables": IN_BOTH % {"names": ", ".join(both)}})
        self._check_where_code_comes_from()

    def _check_where_code_comes_from(self) -> None:
        """Raise ValidationError unless code comes from another environment of the project."""
        seen, before = {self.pk}, self.promotes_from
        while before is not None:
            if before.project_id != self.project_id:
                raise ValidationError(
                    {"promotes_from": _("Choose an environment of the same project.")}
                )
            if before.pk in seen:
                raise ValidationError(
                    {"promotes_from": _("Code would go round in a circle: choose another one.")}
                )
            seen.add(before.pk)
            before = before.promotes_from

    @property
    def reloads(self) -> set[tuple[str, str]]:
        """How its servers are made to serve a release: pairs of a method and what to reload."""
        own = {(each.reload_method, each.reload_target) for each in self.placements.all()}
        return own or {(self.reload_method, self.reload_target)}

    @property
    def active_freeze(self) -> Freeze | None:
        """The freeze that holds now; None: releases may change."""
        # Asked anew each time, so that who waits for the end of a freeze sees it, except for lists
        # that fetched the open ones along: Prefetch(…, to_attr="open_freezes").
        prefetched: list[Freeze] | None = self.__dict__.get("open_freezes")
        if prefetched is None:
            return self.freezes.active().first()
        return next((freeze for freeze in prefetched if freeze.is_active()), None)

    @property
    def is_frozen(self) -> bool:
        return self.active_freeze is not None

    def freeze(
        self,
        reason: str,
        by: str,
        until: datetime | None = None,
        user: "User | None" = None,
    ) -> bool:
        """Let no release change here, until a time or until it is thawed.

        The freeze before, if any, is ended. False if someone else froze it at the same moment:
        theirs holds. Raises PermissionDenied; a command line has no `user` and is trusted.
        """
        self._refuse_to_freeze(user)
        self.__dict__.pop("open_freezes", None)
        try:
            with brief_transaction():
                # So that what a worker takes up at this moment has begun, or sees the freeze.
                Environment.objects.lock(self.pk)
                self.freezes.end(by)
                self.freezes.create(
                    reason=reason, frozen_by=user, frozen_by_name=by[:200], until=until
                )
        except IntegrityError:
            return False
        return True

    def thaw(self, by: str, user: "User | None" = None) -> bool:
        """Let releases change again; False if it was not frozen. Raises PermissionDenied."""
        self._refuse_to_freeze(user)
        self.__dict__.pop("open_freezes", None)
        return self.freezes.end(by)

    def _refuse_to_freeze(self, user: "User | None") -> None:
        if user is not None and not may(user, Right.FREEZE, self):
            raise PermissionDenied(f"{user} may not freeze {self}.")

    def describe_freeze(self) -> Message:
        """Return who froze it, until when and why; blank: it is not frozen."""
        freeze = self.active_freeze
        return freeze.describe() if freeze else Message()
