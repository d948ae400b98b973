"""Bases of the admins of this app: style sheet, pages, read-only history, shared filter."""

from collections.abc import Sequence
from functools import wraps
from operator import itemgetter
from typing import TYPE_CHECKING, Any, TypeVar

from django import forms
from django.contrib import admin
from django.contrib.admin import RelatedFieldListFilter
from django.db import models
from django.db.models.fields.json import KT
from django.http import HttpRequest
from django.http.response import HttpResponseBase
from django.template.response import SimpleTemplateResponse, TemplateResponse
from django.urls import URLPattern
from django.utils.translation import gettext_lazy as _

from deploy_manager.admin.actors import as_actor
from deploy_manager.admin.headers import View, with_headers
from deploy_manager.admin.permissions import visible_environments
from deploy_manager.messages import label_of
from deploy_manager.models import Environment, Problem
from deploy_manager.models.problems import ProblemQuerySet

if TYPE_CHECKING:
    from django.contrib.admin import ModelAdmin
    from django.contrib.admin import StackedInline as StackedInline
    from django.contrib.admin import TabularInline as TabularInline
    from django.forms import ModelForm as ModelForm
else:
    # The stubs make these generic; Django's own classes can't be subscripted at run time.

    class ModelAdmin(admin.ModelAdmin):
        """Django's, subscriptable."""

        __class_getitem__ = classmethod(lambda cls, model: cls)

    class TabularInline(admin.TabularInline):
        """Django's, subscriptable."""

        __class_getitem__ = classmethod(lambda cls, models: cls)

    class StackedInline(admin.StackedInline):
        """Django's, subscriptable."""

        __class_getitem__ = classmethod(lambda cls, models: cls)

    class ModelForm(forms.ModelForm):
        """Django's, subscriptable."""

        __class_getitem__ = classmethod(lambda cls, model: cls)


LOOKED_AT = 1000
"""Rows whose reasons are offered in a filter."""

_Model = TypeVar("_Model", bound=models.Model)


def _with_encodable_text(view: View) -> View:
    """Let a view's page be shown whatever a row contains.

    JSON can escape lone surrogates ("\\ud800"), and json.loads() returns them as they are, but no
    encoding has them. They become question marks, since otherwise the row could not be repaired
    in the admin.
    """

    @wraps(view)
    def shown(*args: Any, **options: Any) -> HttpResponseBase:
        response = view(*args, **options)
        if isinstance(response, SimpleTemplateResponse) and not response.is_rendered:
            original = response.make_bytes
            response.make_bytes = lambda value: original(  # type: ignore[method-assign]
                value.encode(errors="replace").decode() if isinstance(value, str) else value
            )
        return response

    return shown


class StyledAdmin(ModelAdmin[_Model]):
    """Django's admin of a model, with our style sheet on its pages."""

    class Media:
        css = {"all": ["deploy_manager/admin.css"]}

    @property
    def urls(self) -> list[URLPattern]:
        """The URLs of Django's pages of the model and of ours."""
        patterns: list[URLPattern] = self.get_urls()
        for pattern in patterns:
            pattern.callback = with_headers(as_actor(_with_encodable_text(pattern.callback)))
        return patterns

    def get_actions(self, request: HttpRequest, action_location: Any = None) -> dict[str, Any]:
        """Return the actions of a list as `choose_actions` chooses them, all actions of a form."""
        # Django 6.1 added the argument: since then a change form may have actions, too.
        where = () if action_location is None else (action_location,)
        known: dict[str, Any] = super().get_actions(request, *where)
        is_list = action_location is None or action_location.name == "CHANGE_LIST"
        return self.choose_actions(request, known) if is_list else known

    def choose_actions(self, request: HttpRequest, known: dict[str, Any]) -> dict[str, Any]:
        """Return the actions of the list for this user, given those that the class has."""
        return known

    def page_context(self, request: HttpRequest, row: _Model) -> dict[str, Any]:
        """Return what the page of a row shows besides its form: addresses of buttons, problems."""
        return {}

    def render_change_form(
        self,
        request: HttpRequest,
        context: dict[str, Any],
        add: bool = False,
        change: bool = False,
        form_url: str = "",
        obj: _Model | None = None,
    ) -> Any:
        # Here Django has read the row already: change_view() would have to read it once more.
        more = self.page_context(request, obj) if obj is not None else {}
        return super().render_change_form(request, context | more, add, change, form_url, obj)

    def render_page(
        self, request: HttpRequest, template: str, title: str, **context: Any
    ) -> TemplateResponse:
        """Return a page of ours, with all that the admin's own templates need."""
        shared = {
            **self.admin_site.each_context(request),
            "opts": self.opts,
            "media": self.media,
            "title": title,
        }
        return TemplateResponse(request, template, shared | context)


class HistoryAdmin(StyledAdmin[_Model]):
    """History: readable for those who may view it, changeable for nobody."""

    actions: Sequence[str] | None = None

    def has_add_permission(self, request: HttpRequest) -> bool:
        return False

    def has_change_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return False

    def has_delete_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return False


class EnvironmentFilter(RelatedFieldListFilter):
    """A list filter with the environments that the user may see, in one query."""

    def field_choices(
        self,
        field: "models.Field[Any, Any]",
        request: HttpRequest,
        model_admin: "admin.ModelAdmin[Any]",
    ) -> list[tuple[str, Any]]:
        found = visible_environments(request, Environment.objects.select_related("project"))
        return [(str(environment.pk), str(environment)) for environment in found]


class ReasonFilter(admin.SimpleListFilter):
    """A list filter by the reason of a row's message: the reasons of the rows of late."""

    title = _("reason")
    parameter_name = "reason"

    def lookups(
        self, request: HttpRequest, model_admin: "admin.ModelAdmin[Any]"
    ) -> list[tuple[str, str]]:
        # Of a limited number of rows: the database has no index of what is in a message.
        late = model_admin.get_queryset(request).exclude(message="").order_by("-pk")[:LOOKED_AT]
        codes = set(late.annotate(_code=KT("message__0__code")).values_list("_code", flat=True))
        return sorted(((code, label_of(code)) for code in codes if code), key=itemgetter(1))

    def queryset(
        self, request: HttpRequest, queryset: "models.QuerySet[Any]"
    ) -> "models.QuerySet[Any]":
        return queryset.filter(message__0__code=self.value()) if self.value() else queryset


def shown_problems(found: ProblemQuerySet) -> list[Problem]:
    """Return what the reconcile loop could not do, the oldest first; each text only once."""
    by_text: dict[str, Problem] = {}
    for problem in found.order_by("since", "pk"):
        by_text.setdefault(str(problem.text), problem)
    return list(by_text.values())
