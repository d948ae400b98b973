"""A server's host key: fetched, shown to a person, and pinned once they confirm what they saw."""

from typing import TYPE_CHECKING, Any

from django.contrib import messages
from django.core import signing
from django.core.exceptions import PermissionDenied
from django.http import HttpRequest, HttpResponse, HttpResponseRedirect
from django.shortcuts import get_object_or_404
from django.template.response import TemplateResponse
from django.urls import reverse
from django.utils.translation import gettext as _

from deploy_manager.addresses import address_of
from deploy_manager.exceptions import DeployManagerError
from deploy_manager.hosts.keys import HostKey, fingerprint
from deploy_manager.hosts.link import fetch_host_key
from deploy_manager.models import Server

if TYPE_CHECKING:
    from django.contrib.admin import ModelAdmin

TEMPLATE = "admin/deploy_manager/server/host_key.html"
SALT = "deploy_manager.host_key"
VALID_SECONDS = 15 * 60


def host_key_view(admin: "ModelAdmin[Server]", request: HttpRequest, pk: int) -> HttpResponse:
    """GET asks the server and shows its key; POST pins the key that was shown."""
    server = get_object_or_404(Server.objects.select_related("gateway"), pk=pk)
    if not admin.has_change_permission(request, server):
        raise PermissionDenied
    if request.method == "POST":
        return _pin(admin, request, server)
    context = {
        **admin.admin_site.each_context(request),
        "opts": admin.opts,
        "media": admin.media,
        "title": _("Fetch host key"),
        "subtitle": server.name,
        "original": server,
        "pinned": shown_fingerprint(server.host_key),
        **_fetch(server),
    }
    return TemplateResponse(request, TEMPLATE, context)


def shown_fingerprint(line: str) -> str:
    """The fingerprint of a pinned key; blank where none is pinned."""
    try:
        return fingerprint(line) if line else ""
    except ValueError:
        return _("unreadable: fetch it again")


def _fetch(server: Server) -> dict[str, Any]:
    if server.is_local:
        return {"problem": _("The worker's own machine has no host key to pin.")}
    try:
        key = fetch_host_key(address_of(server))
    except DeployManagerError as error:
        return {"problem": str(error)}
    same = key.fingerprint == shown_fingerprint(server.host_key)
    return {"key": key, "same": same, "seen": _sign(server, key)}


def _sign(server: Server, key: HostKey) -> str:
    """What the page showed, so that just this is pinned."""
    return signing.dumps(_seen(server) | {"line": key.line}, salt=SALT)


def _seen(server: Server) -> dict[str, Any]:
    return {
        "server": server.pk,
        "address": f"{server.address}:{server.port}",
        "pinned": server.host_key,
    }


def _pin(admin: "ModelAdmin[Server]", request: HttpRequest, server: Server) -> HttpResponse:
    here = reverse("admin:deploy_manager_server_host_key", args=[server.pk])
    try:
        seen = signing.loads(request.POST.get("seen", ""), salt=SALT, max_age=VALID_SECONDS)
    except signing.BadSignature:
        messages.error(request, _("What you confirmed can't be trusted any more: look again."))
        return HttpResponseRedirect(here)
    line = seen.pop("line")
    if seen != _seen(server):
        messages.error(request, _("The server was changed meanwhile: look again."))
        return HttpResponseRedirect(here)
    won = Server.objects.filter(pk=server.pk, host_key=server.host_key).update(host_key=line)
    if not won:
        messages.error(request, _("The server was changed meanwhile: look again."))
        return HttpResponseRedirect(here)
    pinned = _("Host key pinned: %(fingerprint)s.") % {"fingerprint": shown_fingerprint(line)}
    admin.log_change(request, server, pinned)
    messages.success(request, pinned)
    return HttpResponseRedirect(reverse("admin:deploy_manager_server_change", args=[server.pk]))
