"""Servers: where they are reached, and whether their host key is pinned."""

from django.contrib import admin
from django.utils.translation import gettext_lazy as _

from deploy_manager.admin.base import StyledAdmin
from deploy_manager.models import Server


@admin.register(Server)
class ServerAdmin(StyledAdmin[Server]):
    list_display = ("name", "connection", "reached_at", "gateway")
    list_filter = ("connection",)
    list_select_related = ("gateway",)
    search_fields = ("name", "address")

    @admin.display(description=_("address"), ordering="address")
    def reached_at(self, server: Server) -> str:
        return "" if server.is_local else f"{server.user}@{server.address}:{server.port}"
