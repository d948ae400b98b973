"""The filter of the matrix: its form, and what a URL selects."""

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
    """The selection: environments, packages, versions and states."""

    environments: tuple[Environment, ...]
    text: str = ""
    """Part of a package's name."""

    runs: Requirement | None = None
    """Selects servers that run one of these versions."""

    only: str = ""

    @property
    def matter(self) -> Matter:
        """Rows without any of these states are left out; none are if it is `Matter.NOTHING`."""
        return ONLY.get(self.only, Matter.NOTHING)

    @property
    def package(self) -> str:
        """The only package that is selected; blank if it may be any."""
        return canonicalize_name(self.runs.name) if self.runs else ""

    def has_package(self, name: str) -> bool:
        """Return whether a package is selected."""
        if self.package and name != self.package:
            return False
        return self.text.lower() in name or canonicalize_name(self.text) in name

    def has_versions(self, installed: Mapping[str, str]) -> bool:
        """Return whether a server with these packages is selected."""
        if self.runs is None:
            return True
        version = installed.get(self.package)
        if version is None:
            return False
        try:
            # Pre-releases are installed like any other version: a specifier leaves them out.
            return not self.runs.specifier or self.runs.specifier.contains(
                version, prereleases=True
            )
        except InvalidVersion:
            return False


class RequirementField(forms.CharField):
    """A package with a range of versions, like `django<5.2.8`."""

    def clean(self, value: Any) -> Requirement | None:
        """Return the requirement; None if the field is blank. Raises ValidationError."""
        text = super().clean(value)
        if not text:
            return None
        try:
            return parse_bounds(text)
        except PinError as error:
            raise ValidationError(str(error)) from None


class PackageFilter(forms.Form):
    """Environments, packages and states to show.

    An invalid field shows its error and filters nothing.
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
        label=gettext_lazy("Servers that run"),
        required=False,
        max_length=LONGEST,
        widget=forms.TextInput(attrs={"type": "search", "placeholder": "django<5.2.8"}),
    )
    only = forms.ChoiceField(
        label=gettext_lazy("Show"),
        required=False,
        choices=[
            ("", gettext_lazy("most important first")),
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
        """Return the selection of the valid fields."""
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
        """The names of the chosen environments; empty if all are shown by default."""
        chosen = self.cleaned_data.get("environment", ())
        return [str(each) for each in self._environments if each.pk in chosen]

    @property
    def is_narrow(self) -> bool:
        """Whether any field is filled in, validly or not."""
        return any(self.data.get(name) for name in self.fields)
