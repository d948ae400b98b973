"""The decisions that are written on a deployment when it is requested.

The worker that carries it out may run another version of the code: a phase has a new name, a recipe
is gone, other phases are gates. So it reads these columns, and looks none of them up in code again.
"""

from django.db import models
from django.utils.translation import gettext_lazy as _


class ReleaseUse(models.TextChoices):
    """The release that a deployment works on; the values are those of `recipes.Uses`."""

    NEW = "new", _("a new one")
    NEWEST = "newest", _("the newest one made")
    CURRENT = "current", _("the one that serves")
    GIVEN = "given", _("an earlier one")


class Decided(models.Model):
    """How a deployment spreads, and what happens to its servers if it fails."""

    uses = models.CharField(
        _("works on"), max_length=10, choices=ReleaseUse.choices, default=ReleaseUse.CURRENT
    )
    sends_code = models.BooleanField(
        _("sends code"), default=False, help_text=_("Whether one of its steps makes a release.")
    )
    # These three are taken from the environment: later changes there are for later deployments.
    pause = models.PositiveIntegerField(
        _("pause"), default=0, help_text=_("Seconds between two waves.")
    )
    # A number of servers or a percentage, as it stood on the environment; blank: none.
    max_failures = models.CharField(_("tolerated failures"), max_length=10, blank=True)
    rolls_back = models.BooleanField(
        _("rolls back"),
        default=False,
        help_text=_("Whether servers that were switched are rolled back if it fails."),
    )

    waits = models.BooleanField(
        _("waits"),
        default=False,
        help_text=_("Whether it waits while it may not begin, instead of being refused."),
    )

    class Meta:
        abstract = True
