"""What the confirmation page asks: for each environment a ref and servers, and one reason."""

from typing import Any

from django import forms
from django.core.validators import RegexValidator
from django.utils.translation import gettext_lazy as _

from deploy_manager.models import Deployment, Environment
from deploy_manager.models.validators import ref_validator
from deploy_manager.recipes import Story, Uses


class ReasonForm(forms.Form):
    """One reason for all that is asked for at once."""

    reason = forms.CharField(
        label=_("Reason"),
        required=False,
        max_length=Deployment._meta.get_field("reason").max_length,
        help_text=_("For the history; may stay blank."),
        widget=forms.TextInput(attrs={"class": "vTextField"}),
    )


class RunForm(forms.Form):
    """What to run on one environment, together with what the page showed when it was sent."""

    ref = forms.CharField(
        label=_("Branch, tag or commit"),
        required=False,
        validators=[ref_validator],
        widget=forms.TextInput(attrs={"class": "vTextField", "data-replans": ""}),
    )
    servers = forms.MultipleChoiceField(
        label=_("Servers"),
        error_messages={"required": _("Choose one server at least.")},
    )
    confirmed = forms.BooleanField(required=False)
    shown_ref = forms.CharField(required=False)
    shown_servers = forms.CharField(required=False)
    commit = forms.CharField(
        required=False, validators=[RegexValidator(r"^[0-9a-f]{40}([0-9a-f]{24})?\Z")]
    )

    def __init__(self, environment: Environment, story: Story, data: Any = None) -> None:
        names = [placement.server.name for placement in environment.placements.all()]
        self.environment = environment
        super().__init__(data, prefix=f"e{environment.pk}", initial={"ref": environment.ref})
        self.server_names = list(dict.fromkeys(names))
        self.takes_code = story.uses is Uses.NEW
        self.fields["servers"].choices = [(name, name) for name in names]  # type: ignore[attr-defined]
        if not self.takes_code:
            del self.fields["ref"]

    @property
    def ref_now(self) -> str:
        """The ref to plan with; blank: the environment's own."""
        return str(self.cleaned_data.get("ref", "")) if self.is_bound else ""

    @property
    def servers_now(self) -> list[str]:
        """The servers to plan with."""
        return list(self.cleaned_data.get("servers", [])) if self.is_bound else self.server_names

    @property
    def is_confirmed(self) -> bool:
        """Whether the page had this environment among those that would run."""
        return self.is_bound and self.add_prefix("confirmed") in self.data

    def is_as_shown(self) -> bool:
        """Whether the page showed the plan of just this ref and these servers."""
        sent = self.cleaned_data
        shown = set(filter(None, sent["shown_servers"].split(",")))
        return (
            sent.get("ref", "") == sent["shown_ref"]
            and set(sent["servers"]) == shown
            and (bool(sent["commit"]) or not self.takes_code)
        )
