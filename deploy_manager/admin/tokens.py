"""Tokens of the API: each person's own, shown once when they are made, revoked by a button."""

from datetime import timedelta
from typing import TYPE_CHECKING, Any

from django import forms
from django.contrib import admin, messages
from django.core.exceptions import PermissionDenied
from django.forms import CheckboxSelectMultiple
from django.http import HttpRequest, HttpResponse, HttpResponseRedirect
from django.shortcuts import get_object_or_404
from django.urls import URLPattern, path, reverse
from django.utils import timezone
from django.utils.decorators import method_decorator
from django.utils.html import format_html
from django.utils.safestring import SafeString
from django.utils.translation import gettext
from django.utils.translation import gettext_lazy as _
from django.views.decorators.cache import never_cache
from django.views.decorators.http import require_POST

from deploy_manager.admin.badges import short_time
from deploy_manager.admin.base import ModelForm, StyledAdmin
from deploy_manager.admin.forms import FutureField
from deploy_manager.auditing import record_change
from deploy_manager.models import Token
from deploy_manager.models.tokens import Scope
from deploy_manager.visibility import visible

if TYPE_CHECKING:
    from django.contrib.auth.models import User

LASTS = timedelta(days=90)
"""How long a token is good for, if nothing else is entered."""

CREATED = "admin/deploy_manager/token/created.html"


def in_ninety_days() -> Any:
    return timezone.localtime(timezone.now() + LASTS).replace(second=0, microsecond=0)


class TokenForm(ModelForm[Token]):
    scopes = forms.MultipleChoiceField(
        label=_("Scopes"),
        choices=Scope.choices,
        widget=CheckboxSelectMultiple,
        help_text=_("It may do these, as far as you may."),
    )
    expires_at = FutureField(
        label=_("Expires"),
        required=False,
        initial=in_ninety_days,
        help_text=_("Blank: never."),
    )

    class Meta:
        model = Token
        fields = ("name", "scopes", "environments", "expires_at")
        widgets = {"environments": CheckboxSelectMultiple}


@admin.register(Token)
class TokenAdmin(StyledAdmin[Token]):
    """People make tokens for themselves, and revoke them; keepers of tokens revoke all."""

    form = TokenForm
    actions = None
    list_display = ("name", "begins_with", "user", "may_do", "good_for", "expires", "used", "state")
    list_select_related = ("user",)
    search_fields = ("name", "hint")
    add_fields = ("name", "scopes", "environments", "expires_at")
    shown_fields = (
        *("name", "begins_with", "user", "may_do", "good_for", "created_at", "expires"),
        *("used", "state"),
    )

    def get_queryset(self, request: HttpRequest) -> Any:
        return super().get_queryset(request).prefetch_related("environments__project")

    def has_view_permission(self, request: HttpRequest, obj: Token | None = None) -> bool:
        """Each of those who may have tokens sees their own."""
        may_have = any(
            request.user.has_perm(f"deploy_manager.{verb}_token")
            for verb in ("add", "view", "change")
        )
        seen = obj is None or visible(request, Token.objects.filter(pk=obj.pk)).exists()
        return request.user.is_active and may_have and seen

    def has_change_permission(self, request: HttpRequest, obj: Token | None = None) -> bool:
        return False  # what was handed out stays what it is: make another one

    def has_delete_permission(self, request: HttpRequest, obj: Token | None = None) -> bool:
        return False  # histories name it

    def get_fields(self, request: HttpRequest, obj: Token | None = None) -> Any:
        return self.add_fields if obj is None else self.shown_fields

    def get_readonly_fields(self, request: HttpRequest, obj: Token | None = None) -> Any:
        return () if obj is None else self.shown_fields

    def get_form(self, request: HttpRequest, *args: Any, **options: Any) -> Any:
        form = super().get_form(request, *args, **options)
        if field := form.base_fields.get("environments"):
            field.widget.can_add_related = False  # no place to begin a new one
        return form

    def get_urls(self) -> list[URLPattern]:
        wrap = self.admin_site.admin_view
        revoke = path(
            "<int:pk>/revoke/", wrap(self.revoke_view), name="deploy_manager_token_revoke"
        )
        return [revoke, *super().get_urls()]

    def save_model(self, request: HttpRequest, obj: Token, form: Any, change: bool) -> None:
        """Issue it to who asks for it; the answer shows its secret, which is kept nowhere."""
        sent = form.cleaned_data
        user: User = request.user  # type: ignore[assignment]
        fields = {name: sent[name] for name in ("name", "scopes", "expires_at")}
        made, secret = Token.objects.issue(user, list(sent["environments"]), **fields)
        obj.pk, obj.hint, obj.user = made.pk, made.hint, user
        request.__dict__["_issued"] = secret

    def save_related(self, request: HttpRequest, form: Any, formsets: Any, change: bool) -> None:
        """Nothing is left to do: the environments were written with the token."""

    def response_add(
        self, request: HttpRequest, obj: Token, post_url_continue: str | None = None
    ) -> HttpResponse:
        """Show the secret at once: a message after a redirect would keep it in a cookie."""
        return self.render_page(
            request,
            CREATED,
            gettext("Token %s") % obj.name,
            secret=request.__dict__["_issued"],
            token=obj,
        )

    @method_decorator(never_cache)
    def changeform_view(self, *args: Any, **options: Any) -> Any:
        return super().changeform_view(*args, **options)

    def page_context(self, request: HttpRequest, row: Token) -> dict[str, Any]:
        return {"may_revoke": row.revoked_at is None}

    @method_decorator(require_POST)
    def revoke_view(self, request: HttpRequest, pk: int) -> HttpResponse:
        """End a token of one's own, or, as a keeper of tokens, anybody's."""
        found = visible(request, Token.objects.select_related("user"))
        token = get_object_or_404(found, pk=pk)
        if not self.has_view_permission(request, token):
            raise PermissionDenied
        if token.revoke(str(request.user)):
            record_change(token, {}, {"revoked": str(request.user)})
            self.log_change(request, token, gettext("Revoked."))
            messages.success(request, gettext("%s is revoked.") % token)
        return HttpResponseRedirect(reverse("admin:deploy_manager_token_change", args=[pk]))

    @admin.display(description=_("begins with"))
    def begins_with(self, row: Token) -> SafeString:
        return format_html("<code>{}…</code>", row.hint)

    @admin.display(description=_("scopes"))
    def may_do(self, row: Token) -> str:
        known = dict(Scope.choices)
        scopes = row.scopes if isinstance(row.scopes, list) else []
        return ", ".join(str(known.get(str(each), each)) for each in scopes)

    @admin.display(description=_("environments"))
    def good_for(self, row: Token) -> str:
        if not row.is_limited:
            return gettext("all that its user may")
        return ", ".join(sorted(map(str, row.environments.all()))) or gettext("none any more")

    @admin.display(description=_("expires"), ordering="expires_at")
    def expires(self, row: Token) -> str:
        return short_time(row.expires_at) or gettext("never")

    @admin.display(description=_("last used"), ordering="last_used_at")
    def used(self, row: Token) -> str:
        if row.last_used_at is None:
            return gettext("never")
        return f"{short_time(row.last_used_at)} ({row.last_used_from})"

    @admin.display(description=_("state"))
    def state(self, row: Token) -> str:
        if row.revoked_at:
            who = {"who": row.revoked_by_name, "when": short_time(row.revoked_at)}
            return gettext("revoked by %(who)s, %(when)s") % who
        return gettext("good") if row.is_usable else gettext("expired")
