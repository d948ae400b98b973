"""The import of pins from a requirements file: the changes are shown first, then written."""

import posixpath
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any, cast

from django import forms
from django.contrib import messages
from django.core.exceptions import PermissionDenied
from django.http import HttpRequest, HttpResponse, HttpResponseRedirect
from django.shortcuts import get_object_or_404
from django.urls import reverse
from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy, ngettext

from deploy_manager.admin.base import StyledAdmin
from deploy_manager.admin.confirming import confirming
from deploy_manager.admin.downloads import as_download, plain_refusal
from deploy_manager.admin.waiting import waiting_page
from deploy_manager.credentials import index_of
from deploy_manager.exceptions import DeployManagerError, PinError
from deploy_manager.models import Environment, Resolution
from deploy_manager.models.shapes import fits
from deploy_manager.packages.importing import is_for_a_worker, read_sent
from deploy_manager.packages.pins import checked_pins_of, pins_of, replace_pins
from deploy_manager.packages.repository import find_files
from deploy_manager.packages.resolutions import ask, find_asked
from deploy_manager.requirements.completing import take_pins
from deploy_manager.requirements.decoding import decode
from deploy_manager.requirements.exporting import export_pylock, export_requirements
from deploy_manager.requirements.pins import Pin, compare_wholly
from deploy_manager.requirements.reading import check_whole, read_pins
from deploy_manager.visibility import visible

if TYPE_CHECKING:
    from django.contrib.auth.models import User

TEMPLATE = "admin/deploy_manager/environment/requirements.html"
EXPORTS: dict[str, tuple[str, Callable[[Environment, tuple[Pin, ...]], str]]] = {
    "requirements": ("requirements.txt", lambda _site, pins: export_requirements(pins)),
    "pylock": ("pylock.toml", lambda site, pins: export_pylock(pins, index_of(site))),
}

ASKED = {"text": str, "name": str, "commit": str, "lock": bool, "skip_bad": bool}
ANSWER = {"pins": str, "problems": [str]}
"""The shapes of a question and its answer, whose rows may have been written around every form."""

MAX_BYTES = 1024 * 1024
FIX_OR_SKIP = gettext_lazy("Fix these lines, or tick the box to import the rest without them.")


class RequirementsForm(forms.Form):
    """The requirements of an environment: pasted, uploaded, or from its repository."""

    text = forms.CharField(
        label=gettext_lazy("Requirements"),
        required=False,
        max_length=MAX_BYTES,
        widget=forms.Textarea(
            attrs={"class": "vLargeTextField dm-mono", "rows": 16, "spellcheck": "false"}
        ),
        help_text=gettext_lazy(
            "Exact pins like name==version, with hashes if you have them. A file may also be a"
            " pyproject.toml or a pylock.toml."
        ),
    )
    upload = forms.FileField(label=gettext_lazy("Or a file"), required=False)
    name = forms.CharField(required=False, max_length=200, widget=forms.HiddenInput)
    commit = forms.RegexField(r"[0-9a-f]{40,64}\Z", required=False, widget=forms.HiddenInput)
    lock = forms.BooleanField(
        label=gettext_lazy("Let uv find the versions and all dependencies"),
        required=False,
    )
    skip_bad = forms.BooleanField(label=gettext_lazy("Import the rest"), required=False)

    def __init__(self, environment: Environment, *args: Any, **options: Any) -> None:
        super().__init__(*args, **options)
        self.environment = environment
        self.problems: tuple[str, ...] = ()
        self.asks_a_worker = False

    def clean_upload(self) -> str:
        """Return the file's text, in the encoding that it declares."""
        upload = self.cleaned_data["upload"]
        if upload is None:
            return ""
        if upload.size > MAX_BYTES:
            raise forms.ValidationError(_("The file is larger than 1 MiB."))
        # It tells the format and stands in messages: no path, and not long.
        self.sent_name = posixpath.basename(upload.name)[:200]
        try:
            return decode(upload.read())
        except PinError:
            raise forms.ValidationError(_("The file is not text in UTF-8.")) from None

    def clean(self) -> dict[str, Any]:
        """Find the pins; the repository takes precedence over a file, a file over pasted text.

        If a resolver is needed, a worker has to run it: `asks_a_worker` is set.
        """
        sent = super().clean() or {}
        if self.errors:
            return sent
        try:
            self._choose_source(sent)
            file = self.environment.project.requirements_file if sent["commit"] else sent["name"]
            self.asks_a_worker = sent["lock"] or is_for_a_worker(file)
            if not self.asks_a_worker:
                self._take_pins(sent)
        except DeployManagerError as error:
            raise forms.ValidationError("%(why)s", params={"why": str(error)}) from None
        return sent

    def _choose_source(self, sent: dict[str, Any]) -> None:
        """Choose the commit or the text. Raises CodeError, ValidationError."""
        if "_repository" in self.data:
            sent["commit"], _files = find_files(self.environment)
            self._redisplay(commit=sent["commit"])
        if sent["commit"]:
            return
        sent["text"] = sent["upload"] or sent["text"]
        if sent["upload"]:
            sent["name"] = self.sent_name
            self._redisplay(text=sent["text"], name=sent["name"])
        if not sent["text"].strip():
            raise forms.ValidationError(_("Paste requirements, or choose a file."))

    def _take_pins(self, sent: dict[str, Any]) -> None:
        """Read pins that need no resolver. Raises DeployManagerError."""
        name, asking = read_sent(self.environment, sent["text"], sent["name"], sent["commit"])
        pinned = take_pins(asking, name, skip_bad=sent["skip_bad"])
        self.problems = tuple(map(str, pinned.problems))
        if pinned.problems and not sent["skip_bad"]:
            raise forms.ValidationError(FIX_OR_SKIP)
        sent["pins"] = pinned.pins

    def _redisplay(self, **values: str) -> None:
        """Use these values if the form is shown again with its errors."""
        # A browser never fills in a file field again: the file's text is shown instead.
        self.data = {**dict(self.data.items()), **values}

    @property
    def as_looked_at(self) -> dict[str, Any]:
        """The initial values of the next form, so that exactly what was shown is written."""
        return {key: self.cleaned_data[key] for key in ("text", "name", "commit", "skip_bad")}

    @property
    def as_asked(self) -> dict[str, Any]:
        """The question to a worker."""
        return {**self.as_looked_at, "lock": self.cleaned_data["lock"]}


def import_view(admin: StyledAdmin[Environment], request: HttpRequest, pk: int) -> HttpResponse:
    """Show the form, then the changes, then write them; or export the pins as a file."""
    found = Environment.objects.select_related("project")
    environment = get_object_or_404(visible(request, found), pk=pk)
    if request.GET.get("export") in EXPORTS:
        return _export(environment, request.GET["export"])
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
    admin: StyledAdmin[Environment], request: HttpRequest, environment: Environment
) -> HttpResponse:
    """Show what a worker found, or that it is still at work."""
    user = cast("User", request.user)
    asked = find_asked(Resolution.Kind.PINS, request.GET["asked"], user)
    # An id in a URL may be of another environment, where the user had other rights.
    if asked is None or asked.environments != [environment.pk]:
        return _start_again(request)
    if asked.is_live:
        return waiting_page(
            admin,
            request,
            asked,
            _("Import requirements"),
            subtitle=str(environment),
            original=environment,
            back_url=request.path,
        )
    answer: Any = asked.answer
    if answer is None and asked.message:
        answer = {"pins": "", "problems": []}
    if not (fits(asked.asked, ASKED) and fits(answer, ANSWER)):
        return _start_again(request)
    failure = asked.message or (
        FIX_OR_SKIP if answer["problems"] and not asked.asked["skip_bad"] else ""
    )
    if failure:
        shown = {
            "form": RequirementsForm(environment, initial=asked.asked),
            "problems": answer["problems"],
            "commit": asked.asked["commit"],
            "failure": failure,
        }
    else:
        try:
            pins = read_pins(answer["pins"])
        except PinError:
            return _start_again(request)
        # The answer itself becomes the form's text: nothing is resolved a second time.
        shown = _preview(environment, pins, answer["problems"], {"text": answer["pins"]})
    return _render(admin, request, environment, shown)


def _start_again(request: HttpRequest) -> HttpResponse:
    messages.warning(request, _("This result has expired: please start again."))
    return HttpResponseRedirect(request.path)


def _preview(
    environment: Environment,
    pins: tuple[Pin, ...],
    problems: Sequence[str],
    looked_at: dict[str, Any],
) -> dict[str, Any]:
    """Return the changes, and a form that writes exactly them."""
    return {
        "form": RequirementsForm(environment, initial=looked_at),
        "commit": looked_at.get("commit", ""),
        "pins": pins,
        "problems": problems,
        "changes": compare_wholly(pins_of(environment), pins),
        "looked_at": True,
    }


def _export(environment: Environment, form: str) -> HttpResponse:
    """Send the pins as a file, or say why they can't be exported."""
    name, export = EXPORTS[form]
    try:
        pins = checked_pins_of(environment)
        check_whole(pins, str(environment))
        return as_download(export(environment, pins), name)
    except PinError as error:
        return plain_refusal(error)


def _write(
    admin: StyledAdmin[Environment],
    request: HttpRequest,
    environment: Environment,
    pins: tuple[Pin, ...],
) -> HttpResponse:
    with confirming(request, environment):
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
    admin: StyledAdmin[Environment],
    request: HttpRequest,
    environment: Environment,
    extra: dict[str, Any],
) -> HttpResponse:
    return admin.render_page(
        request,
        TEMPLATE,
        _("Import requirements"),
        subtitle=str(environment),
        original=environment,
        **extra,
    )
