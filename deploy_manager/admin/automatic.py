"""What acts in its owner's name, on its page: who that is, why it is paused, and the buttons."""

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, cast

from django.contrib import messages
from django.core.exceptions import PermissionDenied
from django.http import Http404, HttpRequest, HttpResponseRedirect
from django.urls import reverse
from django.utils.translation import gettext as _

from deploy_manager.exceptions import RequestRefused
from deploy_manager.models import IncomingWebhook, Schedule, UpgradePolicy

if TYPE_CHECKING:
    from django.contrib.auth.models import User

Actor = Schedule | UpgradePolicy | IncomingWebhook

TAKE_OVER, CONFIRM = "take-over", "confirm"


@dataclass(frozen=True)
class ShownActor:
    """One that is paused: why, and where the buttons lead; blank: this user may not press them."""

    name: str
    why: str
    shown: str
    """The digest of what the button confirms."""

    take_over_url: str = ""
    confirm_url: str = ""


def shown_actor(request: HttpRequest, actor: Actor) -> ShownActor | None:
    """Return how a page shows that an actor is paused; None: it is not."""
    from deploy_manager.deployments.owners import shown_of, why_no_owner, why_paused

    if not (why := why_paused(actor)):
        return None
    urls: dict[str, str] = {}
    if _may_own(request, actor):
        # Without an owner, confirming alone would change nothing.
        name = "take_over_url" if why_no_owner(actor) else "confirm_url"
        urls[name] = _url(actor, TAKE_OVER if name == "take_over_url" else CONFIRM)
    return ShownActor(str(actor), str(why), shown_of(actor), **urls)


def act_on(request: HttpRequest, actor: Actor, what: str) -> bool:
    """Take an actor over, or confirm it, as the page showed it; False if that is refused.

    Raises Http404, and PermissionDenied for who may not do what it does.
    """
    from deploy_manager.deployments.owners import confirm_by, sites_it_may_not, take_over

    acts = {TAKE_OVER: take_over, CONFIRM: confirm_by}
    if what not in acts:
        raise Http404
    if sites_it_may_not(request.user, actor):
        raise PermissionDenied
    try:
        acts[what](actor, cast("User", request.user), request.POST.get("shown", "-"))
    except RequestRefused as error:
        messages.error(request, str(error))
        return False
    if actor.paused:
        messages.warning(request, str(actor.paused))
    else:
        text = _("%(name)s acts again, in the name of %(who)s.")
        messages.success(request, text % {"name": actor, "who": actor.owner_name})
    return True


def back_to(name: str, pk: int) -> HttpResponseRedirect:
    return HttpResponseRedirect(reverse(f"admin:deploy_manager_{name}_change", args=[pk]))


def describe_owner(actor: Actor) -> str:
    """Return who owns an actor, for lists and forms."""
    if not actor.owner_name:
        return _("nobody") if actor.pk else ""
    return actor.owner_name if actor.owner_id else _("%s (deleted)") % actor.owner_name


def _may_own(request: HttpRequest, actor: Actor) -> bool:
    from deploy_manager.deployments.owners import refuse_as_owner

    try:
        refuse_as_owner(actor, cast("User", request.user))
    except RequestRefused:
        return False
    return True


def _url(actor: Actor, what: str) -> str:
    args: list[Any] = [actor.pk, what]
    name = f"{actor._meta.model_name}_own"
    if isinstance(actor, Schedule):
        name, args = "environment_schedule", [actor.environment_id, *args]
    return reverse(f"admin:deploy_manager_{name}", args=args)
