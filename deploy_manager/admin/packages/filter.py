"""What of the matrix is asked for, as its address says."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, cast

from django import forms
from django.core.exceptions import ValidationError
from django.utils.translation import gettext_lazy
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name
from packaging.version import InvalidVersion

from deploy_manager.admin.packages.cells import Matter
from deploy_manager.exceptions import PinError
from deploy_manager.models import Environment
from deploy_manager.packages.exposure import parse_bounds

LONGEST = 300
"""Characters of what is searched for."""

ALL = "all"
ONLY = {
    "drift": Matter.DRIFT,
    "vulnerable": Matter.VULNERABLE,
    "outdated": Matter.BEHIND,
    "unknown": Matter.UNKNOWN | Matter.UNAUDITED,
}


@dataclass(frozen=True)
class Asked:
    """What of the matrix is asked for."""

    environments: tuple[Environment, ...]
    text: str = ""
    """A part of a package's name."""

    runs: Requirement | None = None
    """Only servers that run one of these versions."""

    only: str = ""

    @property
    def matter(self) -> Matter:
        """Rows without any of this are left out; nothing: none are."""
        return ONLY.get(self.only, Matter.NOTHING)

    @property
    def package(self) -> str:
        """The one package that is asked for; blank where it may be any."""
        return canonicalize_name(self.runs.name) if self.runs else ""

    def has_package(self, name: str) -> bool:
        """Whether a package is asked for."""
        if self.package and name != self.package:
            return False
        return self.text.lower() in name or canonicalize_name(self.text) in name

    def has_versions(self, installed: Mapping[str, str]) -> bool:
        """Whether a server with these packages is asked for."""
        if self.runs is None:
            return True
        version = installed.get(self.package)
        return version is not None and _is_among(version, self.runs)


class RequirementField(forms.CharField):
    """A package and versions of it, like `django<5.2.8`."""

    def clean(self, value: Any) -> Requirement | None:
        """Return what was written; None where nothing was. Raises ValidationError."""
        text = super().clean(value)
        if not text:
            return None
        try:
            return parse_bounds(text)
        except PinError as error:
            raise ValidationError(str(error)) from None


class PackageFilter(forms.Form):
    """Which environments, which packages, and only those with which matter.

    A field that can't be read is told, and filters nothing.
    """

    environment = forms.TypedMultipleChoiceField(
        label=gettext_lazy("Environments"),
        required=False,
        coerce=int,
        widget=forms.CheckboxSelectMultiple,
    )
    q = forms.CharField(
        label=gettext_lazy("Package"),
        required=False,
        max_length=LONGEST,
        widget=forms.TextInput(attrs={"type": "search"}),
    )
    runs = RequirementField(
        label=gettext_lazy("Who runs"),
        required=False,
        max_length=LONGEST,
        widget=forms.TextInput(attrs={"type": "search", "placeholder": "django<5.2.8"}),
    )
    only = forms.ChoiceField(
        label=gettext_lazy("Show"),
        required=False,
        choices=[
            ("", gettext_lazy("what matters first")),
            ("vulnerable", gettext_lazy("only vulnerable")),
            ("drift", gettext_lazy("only drift")),
            ("outdated", gettext_lazy("only outdated")),
            ("unknown", gettext_lazy("only unknown")),
            (ALL, gettext_lazy("all, by name")),
        ],
    )

    def __init__(self, data: Any, environments: Sequence[Environment]) -> None:
        super().__init__(data, label_suffix="", auto_id="dm-filter-%s")
        self._environments = environments
        choices = [(each.pk, str(each)) for each in environments]
        cast(forms.ChoiceField, self.fields["environment"]).choices = choices

    def read(self) -> Asked:
        """Return what is asked for, of the fields that can be read."""
        self.full_clean()
        chosen = self.cleaned_data.get("environment")
        return Asked(
            tuple(each for each in self._environments if not chosen or each.pk in chosen),
            self.cleaned_data.get("q", ""),
            self.cleaned_data.get("runs"),
            self.cleaned_data.get("only", ""),
        )

    @property
    def chosen_names(self) -> list[str]:
        """The environments that were chosen; none where all are shown unasked."""
        chosen = self.cleaned_data.get("environment", ())
        return [str(each) for each in self._environments if each.pk in chosen]

    @property
    def is_narrow(self) -> bool:
        """Whether anything is asked for, rightly or wrongly."""
        return any(self.data.get(name) for name in self.fields)


def _is_among(version: str, wanted: Requirement) -> bool:
    """Whether a version is among those that are meant; one that can't be compared is not."""
    try:
        return not wanted.specifier or wanted.specifier.contains(version, prereleases=True)
    except InvalidVersion:
        return False
