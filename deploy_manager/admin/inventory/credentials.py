"""Credentials: what is logged in to with them, and all of them that is no secret."""

from typing import Any

from django.contrib import admin, messages
from django.http import HttpRequest, HttpResponse, HttpResponseRedirect
from django.urls import reverse
from django.utils.decorators import method_decorator
from django.utils.html import format_html
from django.utils.safestring import SafeString
from django.utils.translation import gettext
from django.utils.translation import gettext_lazy as _
from django.views.decorators.debug import sensitive_post_parameters

from deploy_manager.admin.base import StyledAdmin
from deploy_manager.admin.inventory.credential_form import GENERATE, CredentialForm
from deploy_manager.models import Credential
from deploy_manager.models.rights import Right, may

SCOPE = ("server", "environment", "project")


@admin.register(Credential)
class CredentialAdmin(StyledAdmin[Credential]):
    form = CredentialForm
    is_seen_by_own_right = True
    change_form_template = "admin/deploy_manager/credential/change_form.html"
    list_display = ("name", "kind", "only_for", "source", "fingerprint", "changed_at")
    list_filter = ("kind", "source")
    list_select_related = ("server", "environment__project", "project")
    search_fields = ("name", "host")
    autocomplete_fields = ("server", "project")
    readonly_fields = ("fingerprint", "line_for_servers", "sealed_by", "changed_at")
    SHOWN = (
        _("What is not secret"),
        {"fields": ("fingerprint", "line_for_servers", "sealed_by", "changed_at")},
    )
    WRITTEN: Any = [
        (None, {"fields": ("name", "kind", "host", "user")}),
        (
            _("The secret"),
            {
                "description": _(
                    "Only the worker opens it. For a new SSH key, leave it blank and choose"
                    " “Generate key”."
                ),
                "fields": ("source", "new_secret", "new_passphrase", "reference", "command"),
            },
        ),
        (
            _("Only for"),
            {
                "description": _(
                    "Blank: for all that have none of their own. The most particular one counts:"
                    " that of a server in an environment, then that of the server, of the"
                    " environment, of its project, and last the one for all."
                ),
                "fields": SCOPE,
            },
        ),
        (_("Belonging to a key"), {"fields": ("public_key", "certificate", "known_hosts")}),
    ]

    def get_fieldsets(self, request: HttpRequest, obj: Credential | None = None) -> Any:
        """Return what is shown of it, and what may be written, which has fields of the form's."""
        if obj is None:
            return self.WRITTEN
        if self.has_change_permission(request, obj):
            return [self.SHOWN, *self.WRITTEN]
        without = {"new_secret", "new_passphrase"}
        written = [
            (title, {**parts, "fields": [each for each in parts["fields"] if each not in without]})
            for title, parts in self.WRITTEN
        ]
        return [self.SHOWN, *written]

    def get_form(self, request: HttpRequest, *args: Any, **options: Any) -> Any:
        """Return a form that knows whether this user may attach a credential to anything."""
        form = super().get_form(request, *args, **options)

        class ForUser(form):  # type: ignore[misc, valid-type]
            def clean(self) -> dict[str, Any]:
                cleaned: dict[str, Any] = super().clean()
                attached = self.instance.pk is None or bool({*SCOPE, "kind"} & {*self.changed_data})
                if attached and not may(request.user, Right.USE_CREDENTIAL, self.instance):
                    self.add_error(None, gettext("You may not attach credentials to anything."))
                return cleaned

        return ForUser

    def page_context(self, request: HttpRequest, row: Credential) -> dict[str, Any]:
        return {"may_generate": self.has_change_permission(request, row)}

    @method_decorator(sensitive_post_parameters("new_secret", "new_passphrase"))
    def changeform_view(self, *args: Any, **options: Any) -> Any:
        """Django's, without the secrets in what is reported of an error."""
        return super().changeform_view(*args, **options)

    def add_view(self, request: HttpRequest, form_url: str = "", extra_context: Any = None) -> Any:
        return super().add_view(request, form_url, {**(extra_context or {}), "may_generate": True})

    def response_add(
        self, request: HttpRequest, obj: Credential, post_url_continue: str | None = None
    ) -> HttpResponse:
        return self._shown(request, obj) or super().response_add(request, obj, post_url_continue)

    def response_change(self, request: HttpRequest, obj: Credential) -> HttpResponse:
        return self._shown(request, obj) or super().response_change(request, obj)

    def _shown(self, request: HttpRequest, row: Credential) -> HttpResponse | None:
        """Redirect to the page with the public part of a key that was generated just now."""
        if GENERATE not in request.POST:
            return None
        text = gettext("A key was generated: add its public part wherever %(name)s is to log in.")
        self.message_user(request, text % {"name": row}, messages.SUCCESS)
        return HttpResponseRedirect(
            reverse("admin:deploy_manager_credential_change", args=[row.pk])
        )

    @admin.display(description=_("only for"))
    def only_for(self, row: Credential) -> str:
        places = (row.server, row.environment, row.project)
        where = " + ".join(str(each) for each in places if each)
        return ", ".join(filter(None, [row.host, where])) or gettext("all")

    @admin.display(description=_("fingerprint"))
    def fingerprint(self, row: Credential) -> SafeString | str:
        """Of the public key; of other secrets a random one, new with each value."""
        from deploy_manager.private_keys import fingerprint_of

        shown = fingerprint_of(row.public_key) or (row.sealed.fingerprint if row.sealed else "")
        return format_html('<code class="dm-copy">{}</code>', shown) if shown else "-"

    @admin.display(description=_("for authorized_keys"))
    def line_for_servers(self, row: Credential) -> SafeString | str:
        """The line that lets the key in, with all switched off that is not needed."""
        if not row.is_key or not row.public_key:
            return "-"
        options = "" if row.kind == Credential.Kind.GIT_KEY else "restrict "
        line = f"{options}{' '.join(row.public_key.split()[:2])} deploy_manager/{row.name}"
        return format_html('<code class="dm-copy">{}</code>', line)

    @admin.display(description=_("sealed by key"))
    def sealed_by(self, row: Credential) -> str:
        return row.sealed.key_id if row.sealed else "-"
