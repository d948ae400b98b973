"""The page that starts an upgrade: what would move is shown, then requested as shown."""

from typing import TYPE_CHECKING, cast

from django.contrib import messages
from django.core.exceptions import PermissionDenied
from django.http import HttpRequest, HttpResponse, HttpResponseRedirect
from django.utils.translation import gettext as _

from deploy_manager import dispatch
from deploy_manager.admin.addresses import upgrade_url
from deploy_manager.admin.base import StyledAdmin
from deploy_manager.admin.upgrades.forms import UpgradeForm, initial_of
from deploy_manager.admin.waiting import waiting_page
from deploy_manager.exceptions import DeployManagerError, RequestRefused
from deploy_manager.models import Environment, Resolution, Upgrade
from deploy_manager.models.rights import Right, may
from deploy_manager.models.shapes import keys_in, object_in
from deploy_manager.packages.resolutions import ask, find_asked
from deploy_manager.upgrades.plan import UpgradePlan
from deploy_manager.upgrades.stored import options_from_json, options_to_json, plan_from_json
from deploy_manager.visibility import may_on_any

if TYPE_CHECKING:
    from django.contrib.auth.models import User

TEMPLATE = "admin/deploy_manager/upgrade/start.html"
MOST_TURNS = 99
"""The highest turn of an environment."""


def start_view(admin: StyledAdmin[Upgrade], request: HttpRequest) -> HttpResponse:
    """Have a worker plan an upgrade, show it, and request exactly that on a confirming POST."""
    if not may_on_any(request, Right.UPGRADE):
        raise PermissionDenied
    return _Page(admin, request).answer()


class _Page:
    """One request: its form, the turns of the environments, and the plan of a worker."""

    def __init__(self, admin: StyledAdmin[Upgrade], request: HttpRequest) -> None:
        self._admin = admin
        self._request = request
        self._plan: UpgradePlan | None = None
        self._user = cast("User", request.user)
        is_sent = request.method == "POST"
        self._asked = self._find_asked(is_sent)
        self._turns = self._read_turns(is_sent)
        self._chosen = sorted(
            (environment for environment, turn in self._turns.items() if turn),
            key=lambda environment: (self._turns[environment] or 0, environment.pk),
        )
        data = request.POST if is_sent else None
        initial = _sent_before(self._asked) if self._asked else initial_of(request.GET)
        self._form = UpgradeForm(data, initial, self._chosen)

    def _find_asked(self, is_sent: bool) -> Resolution | None:
        """Return this user's earlier question, if they may still deploy all of its environments."""
        sent = self._request.POST if is_sent else self._request.GET
        if not sent.get("asked"):
            return None
        asked = find_asked(Resolution.Kind.UPGRADE, sent["asked"], self._user)
        pks = keys_in(asked.environments) if asked else ()
        found = Environment.objects.filter(pk__in=pks)
        if asked and pks and all(may(self._user, Right.UPGRADE, each) for each in found):
            return asked
        if not is_sent:
            text = _("This result has expired: please start again.")
            messages.warning(self._request, text)
        return None

    def _read_turns(self, is_sent: bool) -> dict[Environment, int | None]:
        """Return the environments the user may deploy, each with its turn; None if left out."""
        found = Environment.objects.select_related("project").order_by("project__name", "name")
        mine = [each for each in found if may(self._user, Right.UPGRADE, each)]
        if is_sent:
            return {each: _turn(self._request.POST.get(f"turn-{each.pk}", "")) for each in mine}
        if self._asked:
            sent = _sent_before(self._asked)
            return {each: _turn(sent.get(f"turn-{each.pk}", "")) for each in mine}
        asked = self._request.GET.getlist("environment")
        if len(mine) == 1:
            return {mine[0]: 1}
        return {
            each: asked.index(str(each.pk)) + 1 if str(each.pk) in asked else None for each in mine
        }

    def answer(self) -> HttpResponse:
        if self._request.method == "POST":
            return self._answer_form()
        if self._asked and self._asked.is_live:
            return waiting_page(
                self._admin,
                self._request,
                self._asked,
                _("Upgrade packages"),
                back_url=self._request.path,
            )
        if self._asked and self._asked.message:
            messages.error(self._request, str(self._asked.message))
        elif self._asked:
            try:
                self._plan = _stored_plan(self._asked)
            except DeployManagerError as error:
                messages.warning(self._request, str(error))
        return self._render()

    def _answer_form(self) -> HttpResponse:
        """Request what was shown, or have a worker find what there is to show."""
        if not self._form.is_valid():
            return self._render()
        if not self._chosen:
            self._form.add_error(None, _("Give at least one environment a turn."))
            return self._render()
        if "_confirm" in self._request.POST:
            if (plan := self._shown_plan()) is None:
                text = _("This has changed since it was shown: please check it again.")
                messages.warning(self._request, text)
            elif upgrade := self._request_upgrade(plan):
                return HttpResponseRedirect(upgrade_url(upgrade.pk))
        # A web process runs no resolver: it may take a minute, and reads what strangers wrote.
        sent = {"options": options_to_json(self._form.options()), "sent": self._sent()}
        asked = ask(Resolution.Kind.UPGRADE, self._chosen, sent, self._user)
        return HttpResponseRedirect(f"{self._request.path}?asked={asked.pk}")

    def _sent(self) -> dict[str, str]:
        """Return the form's fields and turns, as they were typed."""
        # As typed, not cleaned: it is compared with the next POST, and fills the form again.
        names = [*self._form.fields, *(f"turn-{each.pk}" for each in self._chosen)]
        return {name: self._request.POST.get(name, "") for name in names}

    def _shown_plan(self) -> UpgradePlan | None:
        """Return the plan that was shown; None if the form or the plan changed since."""
        asked = self._asked
        if asked is None or asked.answer is None or _sent_before(asked) != self._sent():
            return None
        try:
            plan = _stored_plan(asked)
        except DeployManagerError:
            return None
        return plan if plan.key == self._request.POST.get("shown", "") else None

    def _request_upgrade(self, plan: UpgradePlan) -> Upgrade | None:
        """Request an upgrade as it was shown; if it is refused, show why and return None."""
        user = self._user
        try:
            upgrade = dispatch.request_upgrade(
                plan, source="admin", requested_by_name=str(user), user=user
            )
        except RequestRefused as error:
            messages.error(self._request, str(error))
            return None
        self._admin.log_addition(self._request, upgrade, _("Requested."))
        return upgrade

    def _render(self) -> HttpResponse:
        return self._admin.render_page(
            self._request,
            TEMPLATE,
            _("Upgrade packages"),
            form=self._form,
            turns=self._turns.items(),
            plan=self._plan,
            asked=self._asked,
            can_run=self._plan and not self._plan.problems and not self._plan.is_empty,
        )


def _stored_plan(asked: Resolution) -> UpgradePlan:
    """Return the plan that a worker made.

    Raises RequestRefused if it is no longer valid, PinError and InvalidRow if nobody can tell.
    """
    return plan_from_json(asked.answer, options_from_json(object_in(asked.asked).get("options")))


def _sent_before(asked: Resolution) -> dict[str, str]:
    """Return the form as it was typed, as far as the row can be read."""
    sent = object_in(object_in(asked.asked).get("sent"))
    return {name: text for name, text in sent.items() if isinstance(text, str)}


def _turn(text: str) -> int | None:
    """Return a turn; 0, blank and anything that is not a number leave an environment out."""
    return min(int(text), MOST_TURNS) or None if text.isdecimal() and len(text) < 9 else None
