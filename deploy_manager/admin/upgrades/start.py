"""The page that begins an upgrade: what would move is shown, then asked for as it was shown."""

from typing import Any

from django.contrib import messages
from django.contrib.admin import ModelAdmin
from django.core.exceptions import PermissionDenied
from django.http import HttpRequest, HttpResponse, HttpResponseRedirect
from django.template.response import TemplateResponse
from django.utils.translation import gettext as _

from deploy_manager import tasks
from deploy_manager.admin.addresses import upgrade_url
from deploy_manager.admin.permissions import may_deploy_any
from deploy_manager.admin.upgrades.forms import UpgradeForm, initial_of
from deploy_manager.exceptions import RequestRefused
from deploy_manager.models import Environment, Upgrade
from deploy_manager.models.rights import may_deploy
from deploy_manager.runner import UpgradePlan, plan_upgrade

TEMPLATE = "admin/deploy_manager/upgrade/start.html"
MOST_TURNS = 99


def start_view(admin: "ModelAdmin[Upgrade]", request: HttpRequest) -> HttpResponse:
    """Ask, show what would move, and on a confirmed POST that shows the same ask for it."""
    if not may_deploy_any(request):
        raise PermissionDenied
    return _Page(admin, request).answer()


class _Page:
    def __init__(self, admin: "ModelAdmin[Upgrade]", request: HttpRequest) -> None:
        self._admin = admin
        self._request = request
        self._plan: UpgradePlan | None = None
        is_sent = request.method == "POST"
        self._turns = self._read_turns(is_sent)
        self._chosen = sorted(
            (environment for environment, turn in self._turns.items() if turn),
            key=lambda environment: (self._turns[environment] or 0, environment.pk),
        )
        data = request.POST if is_sent else None
        self._form = UpgradeForm(data, initial_of(request.GET), self._chosen)

    def _read_turns(self, is_sent: bool) -> dict[Environment, int | None]:
        """Return the environments the user may deploy, each with its turn; None: left out."""
        found = Environment.objects.select_related("project").order_by("project__name", "name")
        mine = [each for each in found if may_deploy(self._request.user, each)]
        if is_sent:
            return {each: _turn(self._request.POST.get(f"turn-{each.pk}", "")) for each in mine}
        asked = self._request.GET.getlist("environment")
        return {
            each: asked.index(str(each.pk)) + 1 if str(each.pk) in asked else None for each in mine
        }

    def answer(self) -> HttpResponse:
        if self._request.method == "POST" and self._form.is_valid():
            if not self._chosen:
                self._form.add_error(None, _("Give at least one environment a turn."))
            else:
                self._plan = plan_upgrade(self._chosen, self._form.wish())
                if "_confirm" in self._request.POST and (upgrade := self._request_upgrade()):
                    return HttpResponseRedirect(upgrade_url(upgrade.pk))
        return self._render()

    def _request_upgrade(self) -> Upgrade | None:
        """Ask for it where it is what was shown; None where it is not, which the user is told."""
        plan, user = self._plan, self._request.user
        if plan is None or plan.key != self._request.POST.get("shown", ""):
            messages.warning(
                self._request, _("This is not what was shown before: please look again.")
            )
            return None
        try:
            upgrade = tasks.request_upgrade(plan, door="admin", requested_as=str(user), user=user)
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
            "can_run": self._plan and not self._plan.problems and not self._plan.is_empty,
        }
        return TemplateResponse(self._request, TEMPLATE, context)


def _turn(text: str) -> int | None:
    """A turn is a small number; 0, blank and what is none leave an environment out."""
    return min(int(text), MOST_TURNS) or None if text.isdecimal() and len(text) < 9 else None
