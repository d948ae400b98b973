"""Forms of the confirmation page: one for each environment, and one for the reason and the time."""

import json
import re
from collections.abc import Sequence
from functools import cached_property
from typing import Any

from django import forms
from django.core.exceptions import ValidationError
from django.core.validators import RegexValidator
from django.utils.translation import gettext
from django.utils.translation import gettext_lazy as _

from deploy_manager.admin.forms import FutureField
from deploy_manager.deployments.choices import (
    choose_release,
    converge,
    releases_to_return_to,
    serving_on,
)
from deploy_manager.deployments.comparing import with_difference
from deploy_manager.deployments.confirming import describe_request, refuse_another_plan
from deploy_manager.deployments.pipelines import pipeline_for
from deploy_manager.deployments.promoting import release_to_promote
from deploy_manager.deployments.request import DeploymentOptions, choose_placements
from deploy_manager.deployments.waves import plan_steps
from deploy_manager.exceptions import PlanChanged, RequestRefused
from deploy_manager.messages import Message
from deploy_manager.models import Deployment, Environment, Release
from deploy_manager.models.deployments import CONVERGE, DEPLOY, UPGRADE
from deploy_manager.models.serving import most_served, with_unproven
from deploy_manager.models.validators import validate_ref
from deploy_manager.packages.downgrades import confirmed_in
from deploy_manager.recipes import Pipeline, Uses

MIGRATION = re.compile(r"[a-z_][a-z0-9_]*\.[0-9A-Za-z_]+", re.ASCII)


def find_out_of_sync(environment: Environment) -> list[str]:
    """Return the names of servers that serve another release than most, or none at all.

    Uses what is prefetched.
    """
    placements = [each for each in environment.placements.all() if each.has_code]
    usual = most_served(placements)
    if usual is None:
        return []
    return [each.server.name for each in placements if each.active_release_id != usual.pk]


def goes_back(pipeline: Pipeline) -> bool:
    """Return whether it works on an earlier release, which the user has to choose."""
    return pipeline.uses is Uses.GIVEN and pipeline.name not in (CONVERGE, UPGRADE)


class OccasionForm(forms.Form):
    """The reason and the time of all deployments that are requested at once."""

    reason = forms.CharField(
        label=_("Reason"),
        required=False,
        max_length=Deployment._meta.get_field("reason").max_length,
        help_text=_("For the history. Optional."),
        widget=forms.TextInput(attrs={"class": "vTextField"}),
    )
    breaks_glass = forms.BooleanField(
        label=_("Break-glass: without approvals and checks"),
        required=False,
        help_text=_("Runs it at once. Everybody is told so, with the reason."),
    )
    not_before = FutureField(
        label=_("Run at"), required=False, help_text=_("Leave blank to run it immediately.")
    )

    def __init__(self, data: Any = None, *, is_guarded: bool = False) -> None:
        super().__init__(data)
        if not is_guarded:
            del self.fields["breaks_glass"]

    def clean(self) -> dict[str, Any]:
        sent = super().clean() or self.cleaned_data
        if sent.get("breaks_glass") and not sent.get("reason", "").strip():
            self.add_error(
                "reason", gettext("Break-glass needs a reason, which everybody will read.")
            )
        return sent


class RunForm(forms.Form):
    """The options of one environment, together with what the page showed when it was sent."""

    ref = forms.CharField(
        label=_("Branch, tag or commit"),
        required=False,
        validators=[validate_ref],
        widget=forms.TextInput(attrs={"class": "vTextField", "data-replans": ""}),
    )
    release = forms.ChoiceField(
        label=_("Release"),
        error_messages={
            "required": _("Choose a release."),
            "invalid_choice": _(
                "Release %(value)s is not complete on every chosen server: choose another one."
            ),
        },
    )
    forced_migrations = forms.CharField(
        label=_("Migrations not to reverse"),
        required=False,
        help_text=_(
            "If a migration can't be reversed, the rollback is refused and names it. If the earlier"
            " code works with it, list it here, for example shop.0012_drop_prices."
        ),
        widget=forms.Textarea(attrs={"class": "dm-mono", "rows": 2, "cols": 60}),
    )
    servers = forms.MultipleChoiceField(
        label=_("Servers"),
        error_messages={"required": _("Choose at least one server.")},
    )
    confirmed = forms.CharField(required=False)
    shown_ref = forms.CharField(required=False)
    shown_servers = forms.CharField(required=False)
    shown_release = forms.CharField(required=False)
    shown_plan = forms.CharField(required=False, max_length=64)
    take_back = forms.BooleanField(
        label=_("Take this back"),
        required=False,
        help_text=_("What an upgrade or a fix installed will no longer be installed."),
    )
    # JSON of all pins of a release at most, and a limit for strangers.
    shown_take_back = forms.CharField(required=False, max_length=100_000)
    commit = forms.CharField(
        # SHA-1, or SHA-256 in repositories made with --object-format=sha256.
        required=False,
        validators=[RegexValidator(r"^[0-9a-f]{40}([0-9a-f]{24})?\Z")],
    )

    def __init__(
        self,
        environment: Environment,
        pipeline: Pipeline,
        data: Any = None,
        servers: Sequence[str] = (),
    ) -> None:
        self.environment = environment
        self.changed = Message()
        self.goes_back = goes_back(pipeline)
        self.makes_alike = pipeline.name == CONVERGE
        # Code that comes from another environment only is promoted from there: no ref is chosen.
        self.promotes = pipeline.name == DEPLOY and environment.promotes_from_id is not None
        self.takes_code = pipeline.uses is Uses.NEW and not self.makes_alike and not self.promotes
        super().__init__(data, prefix=f"e{environment.pk}", initial={"ref": environment.ref})
        # The choices, and only the fields that this pipeline has use for.
        names = [placement.server.name for placement in self.environment.placements.all()]
        self.server_names = [name for name in dict.fromkeys(names) if name in servers]
        if not self.server_names:
            deviations = find_out_of_sync(self.environment) if self.makes_alike else names
            self.server_names = list(dict.fromkeys(deviations))
        self.fields["servers"].choices = [(name, name) for name in names]  # type: ignore[attr-defined]
        if not self.takes_code:
            del self.fields["ref"]
        if self.goes_back:
            named = [(release.name, release.name) for release in self.releases]
            self.fields["release"].choices = named  # type: ignore[attr-defined]
            # With other servers, there are other releases, and the page showed none of them.
            self.fields["release"].required = set(self._servers_sent) == self._servers_shown
        else:
            del self.fields["release"], self.fields["forced_migrations"]

    def clean_forced_migrations(self) -> list[str]:
        names: list[str] = re.split(r"[\s,]+", self.cleaned_data["forced_migrations"].strip())
        for name in filter(None, names):
            if not MIGRATION.fullmatch(name):
                raise ValidationError(
                    gettext("“%(name)s” is not a migration. Enter one like shop.0005_prices.")
                    % {"name": name}
                )
        return list(filter(None, names))

    def clean_shown_take_back(self) -> list[dict[str, str]]:
        """Return what the page said would be taken back; the worker refuses to take back more."""
        try:
            found = confirmed_in(json.loads(self.cleaned_data["shown_take_back"] or "[]"))
        except ValueError:
            found = set()
        return [{"name": one, "before": two, "after": three} for one, two, three in sorted(found)]

    @property
    def lacks_tick(self) -> bool:
        """Return whether pins would be taken back without consent; a rollback implies it."""
        sent = self.cleaned_data
        return bool(sent["shown_take_back"]) and not (sent["take_back"] or self.goes_back)

    @property
    def _servers_sent(self) -> list[str]:
        """The servers that are chosen, before it is known whether the form is valid."""
        if not self.is_bound:
            return self.server_names
        widget, name = self.fields["servers"].widget, self.add_prefix("servers")
        return list(widget.value_from_datadict(self.data, self.files, name) or ())

    @property
    def _servers_shown(self) -> set[str]:
        """The servers that the page showed as chosen."""
        return set(filter(None, self.data.get(self.add_prefix("shown_servers"), "").split(",")))

    @cached_property
    def releases(self) -> list[Release]:
        """The releases that the servers may go back to, newest first, including bad ones."""
        if not self.goes_back:
            return []
        servers = self._servers_sent
        found = with_unproven(releases_to_return_to(self.environment, servers))
        return with_difference(found, serving_on(self.environment, servers))

    @property
    def ref_now(self) -> str:
        """The ref to plan with; blank for the environment's own."""
        return str(self.cleaned_data.get("ref", "")) if self.is_bound else ""

    @property
    def servers_now(self) -> list[str]:
        """The servers to plan with."""
        return list(self.cleaned_data.get("servers", [])) if self.is_bound else self.server_names

    def find_release(self) -> Release | None:
        """Return the existing release to send; None if the pipeline needs none.

        Raises RequestRefused if none can be chosen.
        """
        if self.goes_back:
            chosen = self.cleaned_data["release"] if self.is_bound else ""
            if not chosen:
                return choose_release(self.environment, servers=self.servers_now)
            return next(release for release in self.releases if release.name == chosen)
        if not self.makes_alike:
            return None
        if not self.servers_now:
            raise RequestRefused(
                gettext("All servers serve the same release, so no server was chosen.")
            )
        return converge(self.environment, self.servers_now).release

    def find_promoted(self) -> Release | None:
        """Return the release that another environment serves and this one gets; None: it has none.

        Raises RequestRefused if it may not be promoted now.
        """
        return release_to_promote(self.environment) if self.promotes else None

    def options(self) -> DeploymentOptions:
        """Return the options of a valid form. Raises RequestRefused."""
        sent = self.cleaned_data
        return DeploymentOptions(
            ref=self.ref_now,
            commit=sent["commit"] if self.takes_code else "",
            servers=self.servers_now,
            release=self.find_release(),
            promotes=self.find_promoted(),
            forced_migrations=sent.get("forced_migrations", ()),
            take_back=() if self.lacks_tick else sent["shown_take_back"],
            # Never blank, which would ask for no comparison.
            shown=sent["shown_plan"] or "-",
        )

    def note_changes(self, pipeline: Pipeline) -> bool:
        """Note what was changed since the page showed what decides what runs; False: nothing."""
        try:
            self.changed = self._changes(pipeline)
        except RequestRefused:
            return False  # it is refused when it is requested, with the reason
        return bool(self.changed)

    def _changes(self, pipeline: Pipeline) -> Message:
        pipeline = pipeline_for(self.environment, pipeline.name)
        placements = choose_placements(self.environment, self.servers_now)
        planned = plan_steps(pipeline, self.environment, placements)
        release = self.find_release() or self.find_promoted()
        now = describe_request(self.environment, pipeline, planned, release)
        try:
            refuse_another_plan(self.cleaned_data["shown_plan"] or "-", now)
        except PlanChanged as error:
            return error.message
        return Message()

    def is_confirmed(self, waits: bool) -> bool:
        """Return whether the page showed this environment as one that would run, now or later."""
        name = self.add_prefix("confirmed")
        return self.is_bound and name in self.data and (waits or self.data[name] != "later")

    def is_as_shown(self) -> bool:
        """Return whether the page showed the plan of exactly this ref, release and servers."""
        sent = self.cleaned_data
        return (
            sent.get("ref", "") == sent["shown_ref"]
            and set(sent["servers"]) == self._servers_shown
            and (bool(sent["commit"]) or not self.takes_code)
            and (not (self.makes_alike or self.promotes) or self._is_release_as_shown())
        )

    def _is_release_as_shown(self) -> bool:
        # Another deployment may have changed meanwhile what others serve.
        try:
            release = self.find_release() or self.find_promoted()
        except RequestRefused:
            return False
        return release is not None and release.name == self.cleaned_data["shown_release"]
