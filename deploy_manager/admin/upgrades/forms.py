"""The form of the page that starts an upgrade: which packages, how far, and how carefully."""

from collections.abc import Sequence
from datetime import timedelta
from typing import Any

from django import forms
from django.http import QueryDict
from django.utils import timezone
from django.utils.translation import gettext_lazy as _

from deploy_manager.exceptions import RequestRefused
from deploy_manager.models import Environment, OnFailure
from deploy_manager.requirements.reach import Reach
from deploy_manager.upgrades.plan import UpgradeOptions
from deploy_manager.upgrades.words import pin_requests_for

REACHES = [
    (Reach.LATEST.value, _("to the newest version")),
    (Reach.MINOR.value, _("to the newest minor version, like 5.1 to 5.2")),
    (Reach.PATCH.value, _("to the newest patch version, like 5.2.7 to 5.2.8")),
    (Reach.FIX.value, _("to the lowest version without known vulnerabilities")),
]
LONGEST = 5000
"""Characters of the packages."""


class UpgradeForm(forms.Form):
    """The packages and options; the page has the environments next to it, each with its turn."""

    packages = forms.CharField(
        label=_("Packages"),
        max_length=LONGEST,
        required=False,
        widget=forms.TextInput(attrs={"class": "vTextField", "autofocus": True}),
        help_text=_(
            "For example: django==5.2.8 celery. Leave blank for all packages, as far as chosen"
            " below."
        ),
    )
    reach = forms.ChoiceField(
        label=_("How far"),
        choices=REACHES,
        initial=Reach.LATEST.value,
        help_text=_("For packages without a version."),
    )
    soak = forms.IntegerField(
        label=_("Soak (minutes)"),
        min_value=0,
        max_value=7 * 24 * 60,
        initial=0,
        help_text=_(
            "How long the canary, and each environment, must run well before the next one starts."
        ),
    )
    cooldown = forms.IntegerField(
        label=_("Cooldown (days)"),
        min_value=0,
        max_value=365,
        initial=0,
        help_text=_("Younger versions are not used, except for security fixes."),
    )
    on_failure = forms.ChoiceField(
        label=_("On failure"), choices=OnFailure.choices, initial=OnFailure.RETURN
    )
    reason = forms.CharField(
        label=_("Reason"),
        max_length=400,
        required=False,
        widget=forms.TextInput(attrs={"class": "vTextField"}),
    )

    def __init__(
        self, data: QueryDict | None, initial: dict[str, Any], environments: Sequence[Environment]
    ) -> None:
        super().__init__(data, initial=initial)
        self._environments = environments

    def clean(self) -> dict[str, Any]:
        """Parse the packages; an error is shown at their field."""
        cleaned = super().clean() or self.cleaned_data
        if not self.errors:
            wanted = cleaned["packages"].replace(",", " ").split()
            reach = Reach(cleaned["reach"])
            try:
                cleaned["pins"] = pin_requests_for(wanted, reach, self._environments)
            except RequestRefused as error:
                self.add_error("packages", str(error))
            else:
                if not cleaned["pins"]:
                    self.add_error("packages", _("There are no such packages to upgrade."))
        return cleaned

    def options(self) -> UpgradeOptions:
        """Return the options of a valid form."""
        cleaned = self.cleaned_data
        cooldown = timedelta(days=cleaned["cooldown"])
        return UpgradeOptions(
            pins=cleaned["pins"],
            reason=cleaned["reason"],
            soak=60 * cleaned["soak"],
            on_failure=cleaned["on_failure"],
            before=timezone.now() - cooldown if cooldown else None,
            exempt=frozenset(pin.name for pin in cleaned["pins"] if pin.reach is Reach.FIX),
        )


def initial_of(query: QueryDict) -> dict[str, Any]:
    """Return the initial values for a URL like `?package=django&version=5.2.8`."""
    version = query.get("version", "")
    reach = query.get("reach", "")
    names = [name for name in query.getlist("package") if name]
    wanted = [f"{name}=={version}" if version and reach != "fix" else name for name in names]
    known = {value for value, _label in REACHES}
    initial: dict[str, Any] = {"packages": " ".join(wanted)[:LONGEST]}
    return initial | ({"reach": reach} if reach in known else {})
