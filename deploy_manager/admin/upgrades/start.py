"""The page that begins an upgrade: what would move is shown, then asked for as it was shown."""

from typing import TYPE_CHECKING, Any, cast

from django.contrib import messages
from django.contrib.admin import ModelAdmin
from django.core.exceptions import PermissionDenied
from django.http import HttpRequest, HttpResponse, HttpResponseRedirect
from django.template.response import TemplateResponse
from django.utils.translation import gettext as _

from deploy_manager import dispatch
from deploy_manager.admin.addresses import upgrade_url
from deploy_manager.admin.permissions import may_deploy_any
from deploy_manager.admin.upgrades.forms import UpgradeForm, initial_of
from deploy_manager.admin.waiting import waiting_page
from deploy_manager.exceptions import RequestRefused
from deploy_manager.models import Environment, Resolution, Upgrade
from deploy_manager.models.rights import may_deploy
from deploy_manager.packages.resolutions import ask, find_asked
from deploy_manager.upgrades.plan import UpgradePlan
from deploy_manager.upgrades.stored import options_from_json, options_to_json, plan_from_json

if TYPE_CHECKING:
    from django.contrib.auth.models import User

TEMPLATE = "admin/deploy_manager/upgrade/start.html"
MOST_TURNS = 99


def start_view(admin: "ModelAdmin[Upgrade]", request: HttpRequest) -> HttpResponse:
    """Have a worker look what would move, show that, and on a confirmed POST ask for just that."""
    if not may_deploy_any(request):
        raise PermissionDenied
    return _Page(admin, request).answer()


class _Page:
    def __init__(self, admin: "ModelAdmin[Upgrade]", request: HttpRequest) -> None:
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
        initial = self._asked.asked["sent"] if self._asked else initial_of(request.GET)
        self._form = UpgradeForm(data, initial, self._chosen)

    def _find_asked(self, is_sent: bool) -> Resolution | None:
        """Return what this user asked before, of environments that they may still deploy."""
        sent = self._request.POST if is_sent else self._request.GET
        if not sent.get("asked"):
            return None
        asked = find_asked(Resolution.Kind.UPGRADE, sent["asked"], self._user)
        found = Environment.objects.filter(pk__in=asked.environments if asked else [])
        if asked and all(may_deploy(self._user, each) for each in found):
            return asked
        if not is_sent:
            words = _("This answer is no longer kept: please ask again.")
            messages.warning(self._request, words)
        return None

    def _read_turns(self, is_sent: bool) -> dict[Environment, int | None]:
        """Return the environments the user may deploy, each with its turn; None: left out."""
        found = Environment.objects.select_related("project").order_by("project__name", "name")
        mine = [each for each in found if may_deploy(self._request.user, each)]
        if is_sent:
            return {each: _turn(self._request.POST.get(f"turn-{each.pk}", "")) for each in mine}
        if self._asked:
            sent = self._asked.asked["sent"]
            return {each: _turn(sent.get(f"turn-{each.pk}", "")) for each in mine}
        asked = self._request.GET.getlist("environment")
        return {
            each: asked.index(str(each.pk)) + 1 if str(each.pk) in asked else None for each in mine
        }

    def answer(self) -> HttpResponse:
        if self._request.method == "POST":
            return self._answer_form()
        if self._asked and self._asked.is_live:
            page = {"title": _("Upgrade packages"), "back_url": self._request.path}
            return waiting_page(self._admin, self._request, self._asked, **page)
        if self._asked:
            self._read_answer(self._asked)
        return self._render()

    def _answer_form(self) -> HttpResponse:
        """Ask for what was shown, or have a worker look what there is to show."""
        if not self._form.is_valid():
            return self._render()
        if not self._chosen:
            self._form.add_error(None, _("Give at least one environment a turn."))
            return self._render()
        if "_confirm" in self._request.POST:
            if (plan := self._shown_plan()) is None:
                words = _("This is not what was shown before: please look again.")
                messages.warning(self._request, words)
            elif upgrade := self._request_upgrade(plan):
                return HttpResponseRedirect(upgrade_url(upgrade.pk))
        sent = {"options": options_to_json(self._form.options()), "sent": self._sent()}
        asked = ask(Resolution.Kind.UPGRADE, self._chosen, sent, self._user)
        return HttpResponseRedirect(f"{self._request.path}?asked={asked.pk}")

    def _read_answer(self, asked: Resolution) -> None:
        """Take the plan that a worker made, or tell why there is none that can be shown."""
        if asked.message:
            messages.error(self._request, asked.message)
            return
        try:
            self._plan = _planned(asked)
        except RequestRefused as error:
            messages.warning(self._request, str(error))

    def _sent(self) -> dict[str, str]:
        """What the form was sent with, as it was typed."""
        names = [*self._form.fields, *(f"turn-{each.pk}" for each in self._chosen)]
        return {name: self._request.POST.get(name, "") for name in names}

    def _shown_plan(self) -> UpgradePlan | None:
        """Return the plan that was shown; None where other things were said, or it has changed."""
        asked = self._asked
        if asked is None or asked.answer is None or asked.asked["sent"] != self._sent():
            return None
        try:
            plan = _planned(asked)
        except RequestRefused:
            return None
        return plan if plan.key == self._request.POST.get("shown", "") else None

    def _request_upgrade(self, plan: UpgradePlan) -> Upgrade | None:
        """Ask for an upgrade as it was shown; None where it is refused, which the user is told."""
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
        context: dict[str, Any] = {
            **self._admin.admin_site.each_context(self._request),
            "opts": self._admin.opts,
            "media": self._admin.media,
            "title": _("Upgrade packages"),
            "form": self._form,
            "turns": self._turns.items(),
            "plan": self._plan,
            "asked": self._asked,
            "can_run": self._plan and not self._plan.problems and not self._plan.is_empty,
        }
        return TemplateResponse(self._request, TEMPLATE, context)


def _planned(asked: Resolution) -> UpgradePlan:
    """Return the plan that a worker made. Raises RequestRefused where it holds no longer."""
    return plan_from_json(asked.answer or {}, options_from_json(asked.asked["options"]))


def _turn(text: str) -> int | None:
    """A turn is a small number; 0, blank and what is none leave an environment out."""
    return min(int(text), MOST_TURNS) or None if text.isdecimal() and len(text) < 9 else None
