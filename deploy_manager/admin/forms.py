"""Fields and forms that several pages share."""

from datetime import datetime
from typing import Any

from django import forms
from django.core.exceptions import ValidationError
from django.utils import timezone
from django.utils.translation import gettext_lazy as _

from deploy_manager.deployments.times import LAST_YEAR

LONGEST_REASON = 500


class FutureField(forms.DateTimeField):
    """A date and time in the future, in the time zone that is current."""

    widget = forms.DateTimeInput(attrs={"type": "datetime-local"}, format="%Y-%m-%dT%H:%M")

    def clean(self, value: Any) -> datetime | None:
        """Return the moment; None if the field was left blank. Raises ValidationError."""
        moment: datetime | None = super().clean(value)
        if moment is not None and moment <= timezone.now():
            raise ValidationError(_("This time is in the past."))
        if moment is not None and moment.year > LAST_YEAR:
            raise ValidationError(_("This time is too far away."))
        return moment


class WriteOnlyTextarea(forms.Textarea):
    """Takes what a page never shows again: empty, also after an error elsewhere in the form."""

    def format_value(self, value: Any) -> None:
        return None


class ReasonForm(forms.Form):
    """A required reason for what a page is about to do."""

    reason = forms.CharField(
        label=_("Reason"),
        max_length=LONGEST_REASON,
        widget=forms.TextInput(attrs={"class": "vTextField"}),
    )

    def __init__(self, data: Any, help_text: str) -> None:
        super().__init__(data)
        self.fields["reason"].help_text = help_text
