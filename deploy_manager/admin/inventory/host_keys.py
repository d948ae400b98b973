"""The page of a server's host key: fetched, shown, and pinned once the user confirms it."""

from typing import Any

from django.contrib import messages
from django.core import signing
from django.core.exceptions import PermissionDenied
from django.http import HttpRequest, HttpResponse, HttpResponseRedirect
from django.shortcuts import get_object_or_404
from django.template.response import TemplateResponse
from django.urls import reverse
from django.utils.translation import gettext as _

from deploy_manager.addresses import address_of
from deploy_manager.admin.base import StyledAdmin
from deploy_manager.exceptions import DeployManagerError
from deploy_manager.hosts.keys import fingerprint
from deploy_manager.hosts.link import fetch_host_key
from deploy_manager.inventory.host_keys import pin, server_facts
from deploy_manager.models import Server
from deploy_manager.visibility import visible

TEMPLATE = "admin/deploy_manager/server/host_key.html"
SALT = "deploy_manager.host_key"
VALID_SECONDS = 15 * 60


def host_key_view(admin: StyledAdmin[Server], request: HttpRequest, pk: int) -> HttpResponse:
    """Show what is pinned; on a POST ask the server for its key, or pin the key that was shown."""
    found = visible(request, Server.objects.select_related("gateway"))
    server = get_object_or_404(found, pk=pk)
    if not admin.has_change_permission(request, server):
        raise PermissionDenied
    if "seen" in request.POST:
        return _pin(admin, request, server)
    return show_host_key(admin, request, server)


def show_host_key(
    admin: StyledAdmin[Server], request: HttpRequest, server: Server
) -> TemplateResponse:
    """Show the page of one server's key. The server is asked on a POST only.

    A link must not have the manager connect to an address that somebody else has chosen.
    """
    is_asked = request.method == "POST" and not server.is_local
    return admin.render_page(
        request,
        TEMPLATE,
        _("Fetch host key"),
        subtitle=server.name,
        original=server,
        pinned=shown_fingerprint(server.host_key),
        **(_fetch(server) if is_asked else {}),
    )


def shown_fingerprint(line: str) -> str:
    """Return the fingerprint of a pinned key; blank if none is pinned."""
    try:
        return fingerprint(line) if line else ""
    except ValueError:
        return _("unreadable: fetch it again")


def _fetch(server: Server) -> dict[str, Any]:
    try:
        key = fetch_host_key(address_of(server))
    except DeployManagerError as error:
        return {"problem": str(error)}
    same = key.fingerprint == shown_fingerprint(server.host_key)
    # Signed, so that exactly the key that the page showed is pinned.
    seen = signing.dumps(server_facts(server) | {"line": key.line}, salt=SALT)
    return {"key": key, "same": same, "seen": seen}


def _pin(admin: StyledAdmin[Server], request: HttpRequest, server: Server) -> HttpResponse:
    here = reverse("admin:deploy_manager_server_host_key", args=[server.pk])
    try:
        seen = signing.loads(request.POST.get("seen", ""), salt=SALT, max_age=VALID_SECONDS)
    except signing.BadSignature:
        messages.error(
            request, _("Your confirmation has expired or is not valid: please check the key again.")
        )
        return HttpResponseRedirect(here)
    line = seen.pop("line")
    if seen["server"] != server.pk or not pin(seen, line):
        messages.error(request, _("The server was changed in the meantime: please check it again."))
        return HttpResponseRedirect(here)
    pinned = _("Host key pinned: %(fingerprint)s.") % {"fingerprint": shown_fingerprint(line)}
    admin.log_change(request, server, pinned)
    messages.success(request, pinned)
    return HttpResponseRedirect(reverse("admin:deploy_manager_server_change", args=[server.pk]))
