"""What was decided when a deployment was asked for: whoever carries it out reads it here.

The code that carries it out may be another than the one that was asked: a phase has a new name, a
recipe is gone, other phases are gates. So nothing of it is looked up in code again.
"""

from django.db import models
from django.utils.translation import gettext_lazy as _


class ReleaseUse(models.TextChoices):
    """Which release a deployment works on; the values are those of `recipes.Uses`."""

    NEW = "new", _("a new one")
    NEWEST = "newest", _("the newest one made")
    CURRENT = "current", _("the one that serves")
    GIVEN = "given", _("an earlier one")


class Decided(models.Model):
    """How a deployment spreads, and what becomes of servers where it fails."""

    uses = models.CharField(
        _("works on"), max_length=10, choices=ReleaseUse.choices, default=ReleaseUse.CURRENT
    )
    sends_code = models.BooleanField(
        _("sends code"), default=False, help_text=_("Whether a step of it makes a release.")
    )
    pause = models.PositiveIntegerField(
        _("pause"), default=0, help_text=_("Seconds between two waves.")
    )
    max_failures = models.CharField(_("failures that are borne"), max_length=10, blank=True)
    rolls_back = models.BooleanField(
        _("goes back"),
        default=False,
        help_text=_("Whether servers that were switched go back where it fails."),
    )

    class Meta:
        abstract = True
