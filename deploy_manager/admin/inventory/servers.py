"""Servers: their addresses and host keys, and the actions that fetch a key or converge them."""

from typing import Any

from django.contrib import admin, messages
from django.db.models import Prefetch, QuerySet
from django.http import HttpRequest, HttpResponse, HttpResponseRedirect
from django.urls import URLPattern, path, reverse
from django.utils.html import format_html
from django.utils.safestring import SafeString
from django.utils.translation import gettext
from django.utils.translation import gettext_lazy as _

from deploy_manager.admin.addresses import run_url
from deploy_manager.admin.base import KeepingForm
from deploy_manager.admin.confirming import ConfirmingAdmin, confirming
from deploy_manager.admin.inventory.processes import describe_processes
from deploy_manager.conf import get_settings
from deploy_manager.models import Environment, Placement, Server
from deploy_manager.models.deployments import CONVERGE, right_to
from deploy_manager.models.rights import Right, may
from deploy_manager.visibility import allowed, may_any, may_on_any, visible


@admin.register(Server)
class ServerAdmin(ConfirmingAdmin[Server]):
    form = KeepingForm
    choices_need = {"gateway": Right.USE_SERVER}
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
                "fields": (
                    *("address", "private_address", "port", "user", "gateway", "host_key"),
                    "legacy_algorithms",
                ),
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
        placed = visible(request, Placement.objects.select_related("watch"))
        placed = placed.prefetch_related("watch__processes")
        return super().get_queryset(request).prefetch_related(Prefetch("placements", placed))

    def get_search_results(
        self, request: HttpRequest, queryset: QuerySet[Server], search_term: str
    ) -> tuple[QuerySet[Server], bool]:
        """Offer to a form's field what the user may use; see `choices_need` of these forms."""
        if request.resolver_match and request.resolver_match.url_name == "autocomplete":
            queryset = allowed(request, Right.USE_SERVER, queryset)
        return super().get_search_results(request, queryset, search_term)

    def has_view_permission(self, request: HttpRequest, obj: Server | None = None) -> bool:
        return self._may(request, Right.VIEW_SERVER, obj)

    def has_change_permission(self, request: HttpRequest, obj: Server | None = None) -> bool:
        return self._may(request, Right.CHANGE_SERVER, obj)

    def has_delete_permission(self, request: HttpRequest, obj: Server | None = None) -> bool:
        return self._may(request, Right.DELETE_SERVER, obj)

    def _may(self, request: HttpRequest, right: Right, server: Server | None) -> bool:
        if server is None:
            return may_any(request, right, Server)
        return may(request.user, right, server)

    def choose_actions(self, request: HttpRequest, known: dict[str, Any]) -> dict[str, Any]:
        """Offer what deploys something only to users who may."""
        if not may_on_any(request, right_to(CONVERGE)):
            known.pop("make_alike", None)
        if not may_on_any(request, Right.RUN_RECIPE) or not get_settings().PROVISION:
            known.pop("provision_servers", None)
        return known

    def get_urls(self) -> list[URLPattern]:
        pages = (
            ("<int:pk>/access/", self.access_view, "access"),
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

    def page_context(self, request: HttpRequest, server: Server) -> dict[str, Any]:
        name = "admin:deploy_manager_server_access"
        may_change = may(request.user, Right.CHANGE_SERVER, server)
        return {"access_url": reverse(name, args=[server.pk])} if may_change else {}

    def access_view(self, request: HttpRequest, pk: int) -> HttpResponse:
        from deploy_manager.admin.inventory.access import access_view

        return access_view(self, request, pk, Right.CHANGE_SERVER)

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
        from deploy_manager.admin.inventory.host_keys import show_host_key
        from deploy_manager.admin.inventory.many_host_keys import show_host_keys

        if len(queryset) == 1:
            return show_host_key(self, request, queryset[0])
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
        right = right_to(recipe)
        found = [
            environment.pk
            for environment in placed.select_related("project")
            if may(request.user, right, environment)
        ]
        if found:
            names = [server.name for server in queryset]
            return HttpResponseRedirect(run_url(recipe, found, names))
        text = gettext("You may not do this on any environment with these servers.")
        self.message_user(request, text, messages.WARNING)
        return None
