"""A date and time to come, as forms ask for it."""

from datetime import datetime
from typing import Any

from django import forms
from django.core.exceptions import ValidationError
from django.utils import timezone
from django.utils.translation import gettext_lazy as _


class MomentField(forms.DateTimeField):
    """A date and time to come, by the clock that the admin shows."""

    widget = forms.DateTimeInput(attrs={"type": "datetime-local"}, format="%Y-%m-%dT%H:%M")

    def clean(self, value: Any) -> datetime | None:
        """Return the moment; None where none was written. Raises ValidationError."""
        moment: datetime | None = super().clean(value)
        if moment is not None and moment <= timezone.now():
            raise ValidationError(_("This time has passed already."))
        return moment
