"""What deployments left behind: the full sets of pins that releases were installed with."""

from django.contrib import admin
from django.utils.html import format_html
from django.utils.safestring import SafeString
from django.utils.translation import gettext_lazy as _

from deploy_manager.admin.base import HistoryAdmin
from deploy_manager.models import Lock


@admin.register(Lock)
class LockAdmin(HistoryAdmin[Lock]):
    list_display = ("__str__", "pin_count", "created_at")
    search_fields = ("digest", "text")
    fields = ("digest", "created_at", "pins")
    readonly_fields = ("digest", "created_at", "pins")

    @admin.display(description=_("packages"))
    def pin_count(self, lock: Lock) -> int:
        return sum("==" in line for line in lock.text.splitlines())

    @admin.display(description=_("pins"))
    def pins(self, lock: Lock) -> SafeString:
        return format_html('<pre class="dm-text">{}</pre>', lock.text)
