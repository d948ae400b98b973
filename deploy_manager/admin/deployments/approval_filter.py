"""The filter of the list of deployments by their approvals."""

from typing import TYPE_CHECKING

from django.contrib import admin
from django.db.models import QuerySet
from django.http import HttpRequest
from django.utils.translation import gettext
from django.utils.translation import gettext_lazy as _

from deploy_manager.models import Deployment, State

if TYPE_CHECKING:
    from django.contrib.admin import ModelAdmin


class ApprovalFilter(admin.SimpleListFilter):
    """A list filter: what waits for approval, and what went without."""

    title = _("approval")
    parameter_name = "approval"

    def lookups(
        self, request: HttpRequest, model_admin: "ModelAdmin[Deployment]"
    ) -> list[tuple[str, str]]:
        return [
            ("waiting", gettext("waiting for approval")),
            ("given", gettext("approved")),
            ("glass", gettext("break-glass")),
        ]

    def queryset(
        self, request: HttpRequest, queryset: QuerySet[Deployment]
    ) -> QuerySet[Deployment]:
        match self.value():
            case "waiting":
                # By what it was last seen to wait for: approved ones may wait for their time.
                waiting = queryset.filter(state=State.WAITING, approvals_needed__gt=0)
                return waiting.filter(message__0__code="waits_for_approval")
            case "given":
                given = queryset.filter(approvals_needed__gt=0, breaks_glass=False)
                return given.exclude(begin_number=0)
            case "glass":
                return queryset.filter(breaks_glass=True)
        return queryset
