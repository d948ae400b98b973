"""Filters: one that an address does not know is refused, else a misspelt one would find all."""

from collections.abc import Callable
from functools import wraps
from typing import Annotated, Any, get_args, get_origin, get_type_hints

from django.http import HttpRequest
from django.utils.translation import gettext as _
from ninja.params.models import Query

from deploy_manager.api.problems import InvalidValueError

Answer = Callable[..., Any]


def without_unknown_filters(answer: Answer) -> Answer:
    """Let an operation refuse what it does not know in the query."""
    known = {
        name
        for name, hint in get_type_hints(answer, include_extras=True).items()
        if get_origin(hint) is Annotated and any(isinstance(each, Query) for each in get_args(hint))
    }

    @wraps(answer)
    def checked(request: HttpRequest, *args: Any, **options: Any) -> Any:
        for name in request.GET:
            if name not in known:
                raise InvalidValueError(name, _("There is no such filter here."), place="query")
        return answer(request, *args, **options)

    return checked
