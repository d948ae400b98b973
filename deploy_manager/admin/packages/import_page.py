"""Pins from a requirements file: what would change is shown first, then written."""

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any, cast

from django.contrib import messages
from django.core.exceptions import PermissionDenied
from django.http import HttpRequest, HttpResponse, HttpResponseRedirect
from django.shortcuts import get_object_or_404
from django.template.response import TemplateResponse
from django.urls import reverse
from django.utils.translation import gettext as _
from django.utils.translation import ngettext

from deploy_manager.admin.downloads import as_download
from deploy_manager.admin.packages.import_form import MEND, RequirementsForm
from deploy_manager.admin.permissions import may_see
from deploy_manager.admin.waiting import waiting_page
from deploy_manager.exceptions import PinError
from deploy_manager.models import Environment, Resolution
from deploy_manager.packages.pins import checked_pins_of, pins_of, replace_pins
from deploy_manager.packages.resolutions import ask, find_asked
from deploy_manager.requirements.exporting import export_pylock, export_requirements
from deploy_manager.requirements.pins import Pin, compare_pins
from deploy_manager.requirements.reading import check_whole, read_pins

if TYPE_CHECKING:
    from django.contrib.admin import ModelAdmin
    from django.contrib.auth.models import User

TEMPLATE = "admin/deploy_manager/environment/requirements.html"
EXPORTS: dict[str, tuple[str, Callable[[Environment, tuple[Pin, ...]], str]]] = {
    "requirements": ("requirements.txt", lambda _site, pins: export_requirements(pins)),
    "pylock": ("pylock.toml", lambda site, pins: export_pylock(pins, site.index_url)),
}


def import_view(admin: "ModelAdmin[Environment]", request: HttpRequest, pk: int) -> HttpResponse:
    """Show the form, then what would change, then write it; or send what is pinned as a file."""
    found = Environment.objects.select_related("project")
    environment = get_object_or_404(found, pk=pk)
    if request.GET.get("export") in EXPORTS:
        return _export(request, environment, request.GET["export"])
    if not admin.has_change_permission(request, environment):
        raise PermissionDenied
    if request.method != "POST" and "asked" in request.GET:
        return _answer(admin, request, environment)
    form = RequirementsForm(environment, request.POST or None, request.FILES or None)
    if not form.is_valid():
        shown = {"form": form, "problems": form.problems, "commit": form.data.get("commit", "")}
        return _render(admin, request, environment, shown)
    if form.asks_a_worker:
        user = cast("User", request.user)
        asked = ask(Resolution.Kind.PINS, [environment], form.as_asked, user)
        return HttpResponseRedirect(f"{request.path}?asked={asked.pk}")
    pins = form.cleaned_data["pins"]
    if "_save" in request.POST:
        return _write(admin, request, environment, pins)
    shown = _preview(environment, pins, form.problems, form.as_looked_at)
    return _render(admin, request, environment, shown)


def _answer(
    admin: "ModelAdmin[Environment]", request: HttpRequest, environment: Environment
) -> HttpResponse:
    """Show what a worker found, or that it is still looking."""
    user = cast("User", request.user)
    asked = find_asked(Resolution.Kind.PINS, request.GET["asked"], user)
    if asked is None or asked.environments != [environment.pk]:
        messages.warning(request, _("This answer is no longer kept: please ask again."))
        return HttpResponseRedirect(request.path)
    if asked.is_live:
        return waiting_page(
            admin,
            request,
            asked,
            title=_("Import requirements"),
            subtitle=str(environment),
            original=environment,
            back_url=request.path,
        )
    answer = asked.answer or {"pins": "", "problems": []}
    failure = asked.message or (MEND if answer["problems"] and not asked.asked["skip_bad"] else "")
    if failure:
        shown = {
            "form": RequirementsForm(environment, initial=asked.asked),
            "problems": answer["problems"],
            "commit": asked.asked["commit"],
            "failure": failure,
        }
    else:
        pins, looked_at = read_pins(answer["pins"]), {"text": answer["pins"]}
        shown = _preview(environment, pins, answer["problems"], looked_at)
    return _render(admin, request, environment, shown)


def _preview(
    environment: Environment,
    pins: tuple[Pin, ...],
    problems: Sequence[str],
    looked_at: dict[str, Any],
) -> dict[str, Any]:
    """What would change, and a form that writes exactly that."""
    return {
        "form": RequirementsForm(environment, initial=looked_at),
        "commit": looked_at.get("commit", ""),
        "pins": pins,
        "problems": problems,
        "changes": compare_pins(pins_of(environment), pins),
        "looked_at": True,
    }


def _export(request: HttpRequest, environment: Environment, form: str) -> HttpResponse:
    """Send the pins, or say in plain text why they can't be had like that."""
    if not may_see(request.user, environment):
        raise PermissionDenied
    name, export = EXPORTS[form]
    try:
        pins = checked_pins_of(environment)
        check_whole(pins, str(environment))
        return as_download(export(environment, pins), name)
    except PinError as error:
        return HttpResponse(f"{error}\n", content_type="text/plain; charset=utf-8", status=409)


def _write(
    admin: "ModelAdmin[Environment]",
    request: HttpRequest,
    environment: Environment,
    pins: tuple[Pin, ...],
) -> HttpResponse:
    replace_pins(environment, pins)
    admin.log_change(request, environment, _("Requirements imported."))
    count = len(pins)
    admin.message_user(
        request,
        ngettext("%(count)d requirement written.", "%(count)d requirements written.", count)
        % {"count": count},
    )
    url = reverse("admin:deploy_manager_requirement_changelist")
    return HttpResponseRedirect(f"{url}?environment__id__exact={environment.pk}")


def _render(
    admin: "ModelAdmin[Environment]",
    request: HttpRequest,
    environment: Environment,
    extra: dict[str, Any],
) -> HttpResponse:
    context = {
        **admin.admin_site.each_context(request),
        "opts": admin.opts,
        "media": admin.media,
        "title": _("Import requirements"),
        "subtitle": str(environment),
        "original": environment,
        **extra,
    }
    return TemplateResponse(request, TEMPLATE, context)
