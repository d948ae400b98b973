"""One-off commands of a site's manage.py: which words are taken, and where they may run."""

import shlex
from collections.abc import Collection, Sequence

from django.core.exceptions import ValidationError
from django.utils.translation import gettext_noop as _

from deploy_manager.exceptions import RequestRefused
from deploy_manager.messages import Message, join
from deploy_manager.models import Placement
from deploy_manager.models.deployments import MANAGE_SITE
from deploy_manager.models.validators import validate_arguments


def split_words(text: str) -> list[str]:
    """Return the words of a line as a shell would read them, without running anything of it.

    Raises RequestRefused.
    """
    try:
        return shlex.split(text)
    except ValueError:
        raise RequestRefused(
            _("A quote or a backslash at the end has no partner: check the quotes.")
        ) from None


def refuse_unfit_arguments(
    recipe: str, arguments: Sequence[str], named: Sequence[str], planned: Collection[Placement]
) -> None:
    """Raise RequestRefused unless a recipe takes these arguments, and its server can run them.

    `named` are the servers that the request names, `planned` those that it would run on.
    """
    if recipe != MANAGE_SITE:
        if arguments:
            raise RequestRefused(_("%(recipe)s takes no arguments."), recipe=recipe)
        return
    if not arguments:
        raise RequestRefused(
            _("%(recipe)s needs a command: manage.py manage_site production -- clearsessions"),
            recipe=recipe,
        )
    try:
        validate_arguments(list(arguments))
    except ValidationError as error:
        raise RequestRefused(
            join((Message(each.message, **(each.params or {})) for each in error.error_list), " ")
        ) from None
    if len(named) > 1:
        raise RequestRefused(_("A command runs on one server: name one."))
    if idle := [each for each in planned if not each.active_release and not each.is_unknown]:
        raise RequestRefused(
            _("No release serves on %(server)s yet, so it has no manage.py to run: deploy first."),
            server=idle[0].server.name,
        )
