"""Owners of what acts automatically: in whose name it does, and why it is paused."""

from typing import TYPE_CHECKING

from django.conf import settings
from django.db import models
from django.utils.translation import gettext_lazy as _

from deploy_manager.models.message_field import MessageField

if TYPE_CHECKING:
    from django.contrib.auth.models import User


class Owned(models.Model):
    """An automatic actor: its owner's rights are checked when it is saved and each time it acts."""

    # Null for none, and once the account is deleted: the name stays.
    owner = models.ForeignKey(
        settings.AUTH_USER_MODEL,
        models.SET_NULL,
        null=True,
        blank=True,
        editable=False,
        related_name="+",
        verbose_name=_("owner"),
    )
    owner_name = models.CharField(_("owned by"), max_length=200, blank=True, editable=False)
    paused = MessageField(
        _("paused"), editable=False, help_text=_("Why it does nothing. Blank: it is not paused.")
    )

    class Meta:
        abstract = True

    def give_to(self, user: "User") -> None:
        """Make a user its owner; the row is not saved."""
        self.owner, self.owner_name = user, str(user)[:200]
