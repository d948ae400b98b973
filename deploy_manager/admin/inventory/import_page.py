"""The import of servers from another tool's file: shown first, then written as it was shown."""

from dataclasses import asdict
from typing import TYPE_CHECKING, Any, cast

from django import forms
from django.contrib.admin.models import ADDITION, CHANGE, LogEntry
from django.contrib.messages import WARNING
from django.core import signing
from django.core.exceptions import PermissionDenied
from django.db.models import QuerySet
from django.http import HttpRequest, HttpResponse, HttpResponseRedirect
from django.urls import reverse
from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy, ngettext

from deploy_manager.admin.base import StyledAdmin
from deploy_manager.admin.confirming import confirming
from deploy_manager.exceptions import InventoryError
from deploy_manager.inventories.formats import FORMATS, read_inventory
from deploy_manager.inventories.found import FoundServer, Inventory, LeftOut
from deploy_manager.inventory.changes import CHANGED, NEW, REFUSED, Plan, Planned, Wanted
from deploy_manager.inventory.comparing import plan_import
from deploy_manager.inventory.writing import ImportChanged, write_import
from deploy_manager.messages import Message
from deploy_manager.models import Environment, Server
from deploy_manager.models.rights import Right
from deploy_manager.visibility import allowed

if TYPE_CHECKING:
    from django.contrib.auth.models import User

TEMPLATE = "admin/deploy_manager/server/import.html"
SALT = "deploy_manager.import_servers"
VALID_SECONDS = 60 * 60
MAX_BYTES = 20 * 1024 * 1024
FORMAT_CHOICES = [
    ("", gettext_lazy("what it looks like")),
    *((each.name, each.label) for each in FORMATS.values()),
]


class ImportForm(forms.Form):
    """A file of another tool, and where its servers go."""

    text = forms.CharField(
        label=gettext_lazy("Inventory"),
        required=False,
        widget=forms.Textarea(
            attrs={"class": "vLargeTextField dm-mono", "rows": 14, "spellcheck": "false"}
        ),
        help_text=gettext_lazy(
            "Of Ansible (INI, YAML, or what ansible-inventory --list prints), PuppetDB (facts or"
            " inventory), Chef (knife node show -l -F json), an ssh_config, or a CSV file. Nothing"
            " in it is run."
        ),
    )
    upload = forms.FileField(label=gettext_lazy("Or a file"), required=False)
    format = forms.ChoiceField(label=gettext_lazy("Format"), required=False, choices=FORMAT_CHOICES)
    user = forms.CharField(
        label=gettext_lazy("User"),
        required=False,
        max_length=32,
        help_text=gettext_lazy("Of new servers for which the file names none."),
    )
    environment = forms.ModelChoiceField(
        label=gettext_lazy("Environment"),
        required=False,
        queryset=Environment.objects.none(),
        empty_label=gettext_lazy("none: only write the servers"),
    )
    roles = forms.CharField(
        label=gettext_lazy("Roles"),
        required=False,
        max_length=5000,
        widget=forms.Textarea(attrs={"rows": 3, "cols": 40, "spellcheck": "false"}),
        help_text=gettext_lazy(
            "A line like dbservers=database for each group whose name differs from its role."
            " The group “all” has every server. Servers without a role are not placed."
        ),
    )
    change_roles = forms.BooleanField(
        label=gettext_lazy("Change the roles of servers that have a place there"), required=False
    )

    def __init__(self, request: HttpRequest, *args: Any, **options: Any) -> None:
        super().__init__(*args, **options)
        self._user = cast("User", request.user)
        field = cast("forms.ModelChoiceField[Environment]", self.fields["environment"])
        field.queryset = changeable_environments(request)

    def clean_upload(self) -> bytes:
        upload = self.cleaned_data["upload"]
        if upload is None:
            return b""
        if upload.size > MAX_BYTES:
            raise forms.ValidationError(
                _("The file is larger than %(most)s MiB: use manage.py import_servers."),
                params={"most": MAX_BYTES // 1024**2},
            )
        return bytes(upload.read())

    def clean_roles(self) -> list[list[str]]:
        found = []
        for line in self.cleaned_data["roles"].splitlines():
            group, sign, role = (part.strip() for part in line.partition("="))
            if line.strip() and not (group and sign and role):
                raise forms.ValidationError(
                    _("%(line)s is not like dbservers=database."), params={"line": line}
                )
            if group:
                found.append([group, role])
        return found

    def clean(self) -> dict[str, Any]:
        sent = super().clean() or {}
        if self.errors:
            return sent
        data = sent["upload"] or sent["text"].encode(errors="replace")
        if not data.strip():
            raise forms.ValidationError(_("Paste an inventory, or choose a file."))
        try:
            sent["inventory"] = read_inventory(data, sent["format"])
        except InventoryError as error:
            raise forms.ValidationError("%(why)s", params={"why": str(error)}) from None
        return sent

    @property
    def wanted(self) -> Wanted:
        sent = self.cleaned_data
        roles = tuple((group, role) for group, role in sent["roles"])
        return Wanted(sent["environment"], roles, sent["change_roles"], sent["user"], by=self._user)


def changeable_environments(request: HttpRequest) -> QuerySet[Environment]:
    """Return the environments in which the user may place servers."""
    return allowed(request, Right.CHANGE, Environment.objects.select_related("project"))


def import_view(admin: StyledAdmin[Server], request: HttpRequest) -> HttpResponse:
    """Show the form, then what would change, then write exactly that."""
    # Which of the servers there are may be changed is asked for each: see inventory.comparing.
    if not (admin.has_add_permission(request) and admin.has_change_permission(request)):
        raise PermissionDenied
    user = cast("User", request.user)
    if "seen" in request.POST:
        return _confirm(admin, request, user)
    form = ImportForm(request, request.POST or None, request.FILES or None)
    if not form.is_valid():
        return admin.render_page(
            request,
            TEMPLATE,
            _("Import servers"),
            form=form,
            file_fields=[form["upload"], form["format"], form["user"]],
            place_fields=[form["environment"], form["roles"]],
        )
    plan = plan_import(form.cleaned_data["inventory"], form.wanted)
    return _preview(admin, request, plan, user)


def _preview(
    admin: StyledAdmin[Server], request: HttpRequest, plan: Plan, user: "User"
) -> HttpResponse:
    def shown(each: Planned) -> str:
        if each.state == REFUSED:
            return "refused"
        has_place = each.place is not None and each.place.state in (NEW, CHANGED)
        return "written" if each.is_written or has_place else "same"

    parts: dict[str, list[Planned]] = {"refused": [], "written": [], "same": []}
    for each in plan.planned:
        parts[shown(each)].append(each)
    return admin.render_page(
        request,
        TEMPLATE,
        _("Import servers"),
        plan=plan,
        format=FORMATS[plan.inventory.format].label,
        # Signed, so that exactly what the page showed is written; without the file itself.
        seen=signing.dumps(_as_seen(plan, user), salt=SALT, compress=True),
        **parts,
    )


def _as_seen(plan: Plan, user: "User") -> dict[str, Any]:
    wanted, inventory = plan.wanted, plan.inventory
    return {
        "by": user.pk,
        "digest": plan.digest,
        "format": inventory.format,
        "servers": [asdict(each) | {"where": each.where.as_json()} for each in inventory.servers],
        "left_out": [[each.where.as_json(), each.reason.as_json()] for each in inventory.left_out],
        "environment": wanted.environment and wanted.environment.pk,
        "roles": wanted.roles,
        "change_roles": wanted.change_roles,
        "user": wanted.user,
    }


def _read_seen(seen: dict[str, Any]) -> Inventory:
    servers = (
        FoundServer(
            **{**each, "where": Message.of_json(each["where"]), "groups": tuple(each["groups"])}
        )
        for each in seen["servers"]
    )
    left_out = (
        LeftOut(Message.of_json(where), Message.of_json(why)) for where, why in seen["left_out"]
    )
    return Inventory(tuple(servers), tuple(left_out), seen["format"])


def _confirm(admin: StyledAdmin[Server], request: HttpRequest, user: "User") -> HttpResponse:
    try:
        seen = signing.loads(request.POST["seen"], salt=SALT, max_age=VALID_SECONDS)
    except signing.BadSignature:
        seen = {}
    if seen.get("by") != user.pk:
        text = _("Your confirmation has expired or is not valid: please start again.")
        admin.message_user(request, text, WARNING)
        return HttpResponseRedirect(request.path)
    environment = None
    if seen["environment"] is not None:
        # Asked again: the right may have been taken away, or the environment deleted.
        environment = changeable_environments(request).filter(pk=seen["environment"]).first()
        if environment is None:
            raise PermissionDenied
    roles = tuple((group, role) for group, role in seen["roles"])
    wanted = Wanted(environment, roles, seen["change_roles"], seen["user"], by=user)
    inventory = _read_seen(seen)
    try:
        # Servers that somebody who may deploy there adds pause nothing that acts there.
        with confirming(request, environment):
            plan = write_import(inventory, wanted, seen["digest"])
    except ImportChanged as error:
        admin.message_user(request, str(error), WARNING)
        return _preview(admin, request, plan_import(inventory, wanted), user)
    _note(admin, request, user, plan)
    return HttpResponseRedirect(reverse("admin:deploy_manager_server_changelist"))


def _note(admin: StyledAdmin[Server], request: HttpRequest, user: "User", plan: Plan) -> None:
    """Write the history of the servers, and say how many there were."""
    for state, flag in ((NEW, ADDITION), (CHANGED, CHANGE)):
        names = {each.name for each in plan.planned if each.state == state}
        # Chosen here and not by the database, which takes few values in a query.
        rows = [row for row in Server.objects.all() if row.name in names] if names else []
        if rows:
            LogEntry.objects.log_actions(user.pk, rows, flag, _("Imported."))
    count = sum(each.is_written for each in plan.planned)
    admin.message_user(
        request,
        ngettext("%(count)d server written.", "%(count)d servers written.", count)
        % {"count": count},
    )
    if plan.placed and plan.wanted.environment is not None:
        LogEntry.objects.log_actions(
            user.pk, [plan.wanted.environment], CHANGE, _("Servers imported.")
        )
