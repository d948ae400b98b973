"""Bases of the admins of this app: style sheet, pages, read-only history, shared filter."""

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from functools import wraps
from operator import itemgetter
from typing import TYPE_CHECKING, Any, TypeVar

from django import forms
from django.contrib import admin
from django.contrib.admin import RelatedFieldListFilter
from django.contrib.admin.utils import NestedObjects
from django.contrib.admin.views.main import ChangeList
from django.db import DEFAULT_DB_ALIAS, models
from django.db.models.constants import LOOKUP_SEP
from django.db.models.fields.json import KT
from django.http import HttpRequest
from django.http.response import HttpResponseBase
from django.template.response import SimpleTemplateResponse, TemplateResponse
from django.urls import URLPattern
from django.utils.translation import gettext
from django.utils.translation import gettext_lazy as _

from deploy_manager.admin.actors import as_actor
from deploy_manager.admin.headers import View, with_headers
from deploy_manager.messages import label_of
from deploy_manager.models import Environment, Problem
from deploy_manager.models.problems import ProblemQuerySet
from deploy_manager.models.rights import Right, may
from deploy_manager.visibility import (
    allowed,
    is_visible,
    may_on_any,
    sees_all,
    visible,
)

if TYPE_CHECKING:
    from django.contrib.admin import ModelAdmin
    from django.contrib.admin import StackedInline as StackedInline
    from django.contrib.admin import TabularInline as TabularInline
    from django.forms import ModelForm as ModelForm

    InlineFormSet = forms.BaseInlineFormSet
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

    class InlineFormSet(forms.BaseInlineFormSet):
        """Django's, subscriptable."""

        __class_getitem__ = classmethod(lambda cls, models: cls)


FIRST_YEAR, LAST_YEAR = datetime(2, 1, 1, tzinfo=UTC), datetime(9998, 12, 31, tzinfo=UTC)
"""Between them each moment has a year in every time zone."""

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


class VisibleChoices:
    """Forms offer rows that the user may see; where a choice needs a right, rows they have it on.

    What a row has already stays a choice: see `KeepingForm`.
    """

    choices_need: Mapping[str, Right] = {}
    """By the name of a foreign key to environments or servers: the right that a choice needs."""

    def get_field_queryset(
        self, db: str | None, db_field: Any, request: HttpRequest
    ) -> "models.QuerySet[Any]":
        found = super().get_field_queryset(db, db_field, request)  # type: ignore[misc]
        if found is None:
            found = db_field.remote_field.model._default_manager.using(db)
        found = visible(request, found)
        if found.model is Environment:
            found = found.select_related("project")
        right = self.choices_need.get(db_field.name)
        return allowed(request, right, found) if right else found


class KeepingForm(ModelForm[Any]):
    """A form whose foreign keys can keep the rows that they have, whoever saves it."""

    def __init__(self, *args: Any, **options: Any) -> None:
        super().__init__(*args, **options)
        for name, field in self.fields.items():
            if not isinstance(field, forms.ModelChoiceField) or field.queryset is None:
                continue
            if own := self.instance.serializable_value(name):
                field.queryset |= field.queryset.model._default_manager.filter(pk=own)


class StyledAdmin(VisibleChoices, ModelAdmin[_Model]):
    """Django's admin of a model: rows that the user may see, and our style sheet on its pages."""

    class Media:
        css = {"all": ["deploy_manager/admin.css"]}

    is_seen_by_own_right = False
    """Whether its rows need their own permission to view, beside that on their environments."""

    def get_queryset(self, request: HttpRequest) -> "models.QuerySet[_Model]":
        return visible(request, super().get_queryset(request))

    def get_list_filter(self, request: HttpRequest) -> list[Any]:
        """Let filters by a related row offer those that the user may see."""
        return [self._visible_filter(each) for each in super().get_list_filter(request)]

    def _visible_filter(self, given: Any) -> Any:
        is_relation = isinstance(given, str) and self.opts.get_field(given).is_relation
        return (given, VisibleFilter) if is_relation else given

    def lookup_allowed(self, lookup: str, value: str, request: Any = None) -> bool:
        """Take the filters that the list offers, and no other column of its table.

        Django would take each of them: who is not shown a value could find it by guessing.
        """
        offered = self.list_filter if request is None else super().get_list_filter(request)
        names = {getattr(each, "parameter_name", each) for each in (*offered, self.date_hierarchy)}
        is_offered = lookup.partition(LOOKUP_SEP)[0] in names
        return is_offered and super().lookup_allowed(lookup, value, request)

    def has_view_permission(self, request: HttpRequest, obj: _Model | None = None) -> bool:
        """Whoever may see any environment may see the rows that belong to those they may see."""
        if self.is_seen_by_own_right and not super().has_view_permission(request, obj):
            return False
        if obj is None:
            return self.is_seen_by_own_right or may_on_any(request, Right.VIEW)
        return is_visible(request, obj)

    def has_module_permission(self, request: HttpRequest) -> bool:
        return super().has_module_permission(request) or self.has_view_permission(request)

    def get_deleted_objects(self, objs: Any, request: HttpRequest) -> tuple[Any, Any, Any, Any]:
        """Name none of the rows that would go, too, or are in the way, if one may not be seen."""
        found: tuple[Any, Any, Any, Any] = super().get_deleted_objects(objs, request)
        if sees_all(request):
            return found
        collector = NestedObjects(using=DEFAULT_DB_ALIAS, origin=objs)
        collector.collect(objs)
        rows = {*collector.protected, *(row for each in collector.data.values() for row in each)}
        if all(is_visible(request, row) for row in rows):
            return found
        return [], {}, set(), [gettext("rows that you may not see")]

    def get_changelist_instance(self, request: HttpRequest) -> ChangeList:
        """Return the list, without its links to years if those of its rows can't be told.

        Databases convert the very first and last moments to no other zone: the list would fail.
        """
        found = super().get_changelist_instance(request)
        if name := found.date_hierarchy:
            odd = models.Q(**{f"{name}__lt": FIRST_YEAR}) | models.Q(**{f"{name}__gt": LAST_YEAR})
            if found.queryset.filter(odd).exists():
                found.date_hierarchy = None
        return found

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


class OfEnvironmentInline(VisibleChoices):
    """Rows on an environment's page: seen with it, and changed by whoever may change it."""

    def has_view_permission(self, request: HttpRequest, obj: Environment | None = None) -> bool:
        return obj is None or is_visible(request, obj)

    def has_add_permission(self, request: HttpRequest, obj: Environment | None = None) -> bool:
        return self._may_change(request, obj)

    def has_change_permission(self, request: HttpRequest, obj: Environment | None = None) -> bool:
        return self._may_change(request, obj)

    def has_delete_permission(self, request: HttpRequest, obj: Environment | None = None) -> bool:
        return self._may_change(request, obj)

    def _may_change(self, request: HttpRequest, environment: Environment | None) -> bool:
        # On the page that adds one: Django has asked for that right before.
        return environment is None or may(request.user, Right.CHANGE, environment)


class VisibleFilter(RelatedFieldListFilter):
    """A list filter with the rows that the user may see, in one query."""

    def field_choices(
        self,
        field: "models.Field[Any, Any]",
        request: HttpRequest,
        model_admin: "admin.ModelAdmin[Any]",
    ) -> list[tuple[str, Any]]:
        related: Any = field.related_model
        found = visible(request, related._default_manager.all())
        if found.model is Environment:
            found = found.select_related("project")
        return [(str(row.pk), str(row)) for row in found]


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
