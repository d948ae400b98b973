"""The page of several servers' host keys: fetched by the action, pinned as they were shown."""

from typing import Any

from django.contrib import messages
from django.core import signing
from django.core.exceptions import PermissionDenied
from django.db.models import QuerySet
from django.http import HttpRequest, HttpResponse, HttpResponseRedirect
from django.urls import reverse
from django.utils.translation import gettext as _
from django.utils.translation import ngettext

from deploy_manager.admin.base import StyledAdmin
from deploy_manager.admin.inventory.host_keys import VALID_SECONDS, shown_fingerprint
from deploy_manager.inventory.host_keys import CHANGED, NEW, SeenKey, fetch_host_keys, pin
from deploy_manager.inventory.host_keys import server_facts as facts_of
from deploy_manager.models import Server
from deploy_manager.models.rights import Right
from deploy_manager.visibility import allowed

TEMPLATE = "admin/deploy_manager/server/host_keys.html"
SALT = "deploy_manager.host_keys"
MOST = 100
"""Servers on one page: even if none of them answers, it comes within half a minute."""


def show_host_keys(
    admin: StyledAdmin[Server], request: HttpRequest, chosen: QuerySet[Server]
) -> HttpResponse:
    """Ask the servers for their keys, side by side, and show what they answer. On a POST only."""
    if not admin.has_change_permission(request):
        raise PermissionDenied
    if chosen.count() > MOST:
        text = _("Choose at most %(most)s servers, or use manage.py host_keys.") % {"most": MOST}
        admin.message_user(request, text, messages.WARNING)
        return HttpResponseRedirect(reverse("admin:deploy_manager_server_changelist"))
    servers = list(allowed(request, Right.CHANGE_SERVER, chosen).select_related("gateway"))
    seen = fetch_host_keys(servers)
    # Those that need a person come first.
    order = (CHANGED, NEW)
    seen.sort(key=lambda each: order.index(each.state) if each.state in order else len(order))
    return admin.render_page(
        request,
        TEMPLATE,
        _("Fetch host keys"),
        rows=seen,
        local=[server for server in servers if server.is_local],
        to_pin=sum(each.state in order for each in seen),
        has_changed=any(each.state == CHANGED for each in seen),
        seen=signing.dumps([_as_seen(each) for each in seen if each.key], salt=SALT, compress=True),
    )


def _as_seen(seen: SeenKey) -> dict[str, Any]:
    line = seen.key.line if seen.key else ""
    return {**facts_of(seen.server), "line": line, "state": seen.state}


def host_keys_view(admin: StyledAdmin[Server], request: HttpRequest) -> HttpResponse:
    """Pin the keys that were ticked. A GET asks nobody and changes nothing."""
    if not admin.has_change_permission(request):
        raise PermissionDenied
    servers = HttpResponseRedirect(reverse("admin:deploy_manager_server_changelist"))
    if request.method != "POST":
        return servers
    try:
        seen = signing.loads(request.POST.get("seen", ""), salt=SALT, max_age=VALID_SECONDS)
    except signing.BadSignature:
        text = _("Your confirmation has expired or is not valid: please fetch the keys again.")
        admin.message_user(request, text, messages.ERROR)
        return servers
    # By two names: whoever ticks all the new ones has not ticked one that changed.
    ticked = {state: set(request.POST.getlist(state)) for state in (NEW, CHANGED)}
    count = 0
    for each in seen:
        line, state = each.pop("line"), each.pop("state")
        if str(each["server"]) in ticked.get(state, ()):
            count += _pin(admin, request, each, line)
    text = ngettext("%(count)d host key pinned.", "%(count)d host keys pinned.", count)
    admin.message_user(request, text % {"count": count})
    return servers


def _pin(
    admin: StyledAdmin[Server], request: HttpRequest, facts: dict[str, Any], line: str
) -> bool:
    # Asked again: the right may have been taken away since the key was shown.
    mine = allowed(request, Right.CHANGE_SERVER, Server.objects.all())
    server = mine.filter(pk=facts["server"]).first()
    if server is None or not pin(facts, line):
        text = _("%(server)s was changed in the meantime: fetch its key again.")
        name = server or facts["address"]
        admin.message_user(request, text % {"server": name}, messages.ERROR)
        return False
    pinned = _("Host key pinned: %(fingerprint)s.") % {"fingerprint": shown_fingerprint(line)}
    admin.log_change(request, server, pinned)
    return True
