"""Servers: their addresses and host keys, and the actions that fetch a key or converge them."""

from typing import Any

from django.contrib import admin, messages
from django.db.models import QuerySet
from django.http import HttpRequest, HttpResponse, HttpResponseRedirect
from django.urls import URLPattern, path, reverse
from django.utils.html import format_html
from django.utils.safestring import SafeString
from django.utils.translation import gettext
from django.utils.translation import gettext_lazy as _

from deploy_manager.admin.addresses import run_url
from deploy_manager.admin.confirming import ConfirmingAdmin, confirming
from deploy_manager.admin.inventory.processes import describe_processes
from deploy_manager.admin.permissions import may_deploy_any
from deploy_manager.conf import get_settings
from deploy_manager.models import Environment, Server
from deploy_manager.models.deployments import CONVERGE
from deploy_manager.models.rights import may_deploy


@admin.register(Server)
class ServerAdmin(ConfirmingAdmin[Server]):
    list_display = ("name", "connection", "reached_at", "gateway", "running_now", "host_key_shown")
    list_filter = ("connection",)
    list_select_related = ("gateway",)
    search_fields = ("name", "address")
    autocomplete_fields = ("gateway",)
    actions = ("fetch_host_key", "make_alike", "provision_servers")
    fieldsets = [
        (None, {"fields": ("name", "connection")}),
        (
            "SSH",
            {
                "description": _("How the server is reached. A local server uses none of this."),
                "fields": ("address", "private_address", "port", "user", "gateway", "host_key"),
            },
        ),
        (
            _("Provisioning"),
            {
                "description": _(
                    "How a new server is given what a site needs: the account, folders, packages."
                ),
                "fields": ("bootstrap_user",),
            },
        ),
    ]

    def get_queryset(self, request: HttpRequest) -> QuerySet[Server]:
        return super().get_queryset(request).prefetch_related("placements__watch__processes")

    def choose_actions(self, request: HttpRequest, known: dict[str, Any]) -> dict[str, Any]:
        """Offer what deploys something only to users who may."""
        if not may_deploy_any(request):
            known.pop("make_alike", None)
        if not may_deploy_any(request) or not get_settings().PROVISION:
            known.pop("provision_servers", None)
        return known

    def get_urls(self) -> list[URLPattern]:
        pages = (
            ("<int:pk>/host-key/", self.host_key_view, "host_key"),
            ("host-keys/", self.host_keys_view, "host_keys"),
            ("import/", self.import_view, "import"),
        )
        return [
            *(
                path(route, self.admin_site.admin_view(view), name=f"deploy_manager_server_{name}")
                for route, view, name in pages
            ),
            *super().get_urls(),
        ]

    def host_key_view(self, request: HttpRequest, pk: int) -> HttpResponse:
        from deploy_manager.admin.inventory.host_keys import host_key_view

        with confirming(request, Server.objects.filter(pk=pk).first()):
            return host_key_view(self, request, pk)

    def host_keys_view(self, request: HttpRequest) -> HttpResponse:
        from deploy_manager.admin.inventory.many_host_keys import host_keys_view

        return host_keys_view(self, request)

    def import_view(self, request: HttpRequest) -> HttpResponse:
        from deploy_manager.admin.inventory.import_page import import_view

        return import_view(self, request)

    @admin.display(description=_("address"), ordering="address")
    def reached_at(self, server: Server) -> str:
        return "" if server.is_local else f"{server.user}@{server.address}:{server.port}"

    @admin.display(description=_("processes"))
    def running_now(self, server: Server) -> SafeString | str:
        return describe_processes(server.placements.all())

    @admin.display(description=_("host key"))
    def host_key_shown(self, server: Server) -> SafeString | str:
        from deploy_manager.admin.inventory.host_keys import shown_fingerprint

        if server.is_local:
            return gettext("not needed")
        if server.host_key:
            return format_html("<code>{}</code>", shown_fingerprint(server.host_key))
        return format_html('<span class="dm-warn">{}</span>', gettext("not pinned"))

    @admin.action(description=_("Fetch host keys"), permissions=["change"])
    def fetch_host_key(self, request: HttpRequest, queryset: QuerySet[Server]) -> HttpResponse:
        """Show the key of one server on its own page, those of several on one page."""
        from deploy_manager.admin.inventory.many_host_keys import show_host_keys

        if len(queryset) == 1:
            url = reverse("admin:deploy_manager_server_host_key", args=[queryset[0].pk])
            return HttpResponseRedirect(url)
        return show_host_keys(self, request, queryset)

    @admin.action(description=_("Make it like the others…"))
    def make_alike(
        self, request: HttpRequest, queryset: QuerySet[Server]
    ) -> HttpResponseRedirect | None:
        """Redirect to the page that sends them what the other servers of their sites serve."""
        return self._to_recipe(request, queryset, CONVERGE)

    @admin.action(description=_("Provision…"), permissions=["change"])
    def provision_servers(
        self, request: HttpRequest, queryset: QuerySet[Server]
    ) -> HttpResponseRedirect | None:
        """Redirect to the page that shows what they lack for the sites they are placed in."""
        from deploy_manager.deployments.provisioning import PREVIEW

        return self._to_recipe(request, queryset, PREVIEW)

    def _to_recipe(
        self, request: HttpRequest, queryset: QuerySet[Server], recipe: str
    ) -> HttpResponseRedirect | None:
        placed = Environment.objects.filter(servers__in=queryset).distinct()
        found = [
            environment.pk
            for environment in placed.select_related("project")
            if may_deploy(request.user, environment)
        ]
        if found:
            names = [server.name for server in queryset]
            return HttpResponseRedirect(run_url(recipe, found, names))
        text = gettext("You may not deploy any environment with these servers.")
        self.message_user(request, text, messages.WARNING)
        return None
