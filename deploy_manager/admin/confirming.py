"""Saving in the admin: an edit by a person with the right confirms itself for what acts later."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, TypeVar, cast

from django.db.models import Model
from django.http import HttpRequest, HttpResponse

from deploy_manager.admin.addresses import read_id
from deploy_manager.admin.base import StyledAdmin
from deploy_manager.models import Environment

if TYPE_CHECKING:
    from django.contrib.auth.models import User

_Model = TypeVar("_Model", bound=Model)


@contextmanager
def confirming(request: HttpRequest, row: Model | None) -> Iterator[None]:
    """Let what a user edits in this block count as confirmed where they have the right."""
    if row is None or request.method != "POST":
        yield
        return
    from deploy_manager.deployments.confirming import confirming_own_edits

    with confirming_own_edits(row, cast("User", request.user)):
        yield


class ConfirmingAdmin(StyledAdmin[_Model]):
    """The admin of rows that decide what runs."""

    def changeform_view(
        self,
        request: HttpRequest,
        object_id: str | None = None,
        form_url: str = "",
        extra_context: dict[str, Any] | None = None,
    ) -> HttpResponse:
        with confirming(request, self._edited(request, object_id)):
            return super().changeform_view(request, object_id, form_url, extra_context)

    def delete_view(
        self, request: HttpRequest, object_id: str, extra_context: dict[str, Any] | None = None
    ) -> HttpResponse:
        row = self._edited(request, object_id)
        # By its environment: afterwards the row itself is gone.
        with confirming(request, getattr(row, "environment", row)):
            return super().delete_view(request, object_id, extra_context)

    def _edited(self, request: HttpRequest, object_id: str | None) -> Model | None:
        if request.method != "POST":
            return None
        if object_id is not None:
            pk = read_id(object_id)
            return None if pk is None else self.model._default_manager.filter(pk=pk).first()
        # A new row of an environment is an edit of that.
        pk = read_id(request.POST.get("environment", ""))
        return None if pk is None else Environment.objects.filter(pk=pk).first()
