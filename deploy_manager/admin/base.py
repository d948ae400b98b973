"""What the admins of this app share: a typed base with our style sheet, and read-only history."""

from collections.abc import Callable, Sequence
from functools import wraps
from typing import TYPE_CHECKING, Any, TypeVar

from django import forms
from django.contrib import admin
from django.db import models
from django.http import HttpRequest
from django.http.response import HttpResponseBase
from django.template.response import SimpleTemplateResponse
from django.urls import URLPattern

if TYPE_CHECKING:
    from django.contrib.admin import ModelAdmin
    from django.contrib.admin import TabularInline as TabularInline
    from django.forms import ModelForm as ModelForm
else:

    class ModelAdmin(admin.ModelAdmin):
        """Django's, which can't be subscripted when it runs."""

        __class_getitem__ = classmethod(lambda cls, model: cls)

    class TabularInline(admin.TabularInline):
        """Django's, which can't be subscripted when it runs."""

        __class_getitem__ = classmethod(lambda cls, models: cls)

    class ModelForm(forms.ModelForm):
        """Django's, which can't be subscripted when it runs."""

        __class_getitem__ = classmethod(lambda cls, model: cls)


_Model = TypeVar("_Model", bound=models.Model)
View = Callable[..., HttpResponseBase]


def _in_letters(view: View) -> View:
    """Let a view's page be shown whatever a row holds: JSON may have halves of letters.

    No encoding has those, so that they become question marks; else nobody could mend the row.
    """

    @wraps(view)
    def shown(*args: Any, **options: Any) -> HttpResponseBase:
        response = view(*args, **options)
        if isinstance(response, SimpleTemplateResponse) and not response.is_rendered:
            as_it_is = response.make_bytes
            response.make_bytes = lambda value: as_it_is(  # type: ignore[method-assign]
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
        """Django's pages of the model, and ours."""
        patterns: list[URLPattern] = self.get_urls()
        for pattern in patterns:
            pattern.callback = _in_letters(pattern.callback)
        return patterns

    def get_actions(self, request: HttpRequest, action_location: Any = None) -> dict[str, Any]:
        """As Django's: from 6.1 on it says where they are shown, and a form may have some too."""
        where = () if action_location is None else (action_location,)
        known: dict[str, Any] = super().get_actions(request, *where)
        is_list = action_location is None or action_location.name == "CHANGE_LIST"
        return self.choose_actions(request, known) if is_list else known

    def choose_actions(self, request: HttpRequest, known: dict[str, Any]) -> dict[str, Any]:
        """Return the actions of the list for who asks, of those that the class has."""
        return known


class HistoryAdmin(StyledAdmin[_Model]):
    """History: read by those who may, changed by nobody."""

    actions: Sequence[str] | None = None

    def has_add_permission(self, request: HttpRequest) -> bool:
        return False

    def has_change_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return False

    def has_delete_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return False
