"""Which application a site has: the one given, its settings', or the usual one."""

from __future__ import annotations

import os
from importlib import import_module
from typing import Any


def find_application(given: str, setting: str, module: str) -> str:
    """Return `module:name`: the one given, the setting's, or the usual one; blank if none."""
    if given:
        return given
    named = os.environ.get("DJANGO_SETTINGS_MODULE", "")
    if not named:
        return ""
    from django.conf import settings

    package, _dot, name = (getattr(settings, setting, None) or "").rpartition(".")
    return f"{package}:{name}" if package else f"{named.split('.')[0]}.{module}:application"


def load_application(name: str) -> Any:
    """Import `module:name`."""
    module, _colon, attribute = name.partition(":")
    return getattr(import_module(module), attribute)


def is_asgi(application: object) -> bool:
    import inspect  # late: it takes as long to import as the rest of what a deployment runs here

    call = getattr(application, "__call__", None)  # noqa: B004  its function, not whether it has one
    return inspect.iscoroutinefunction(application) or inspect.iscoroutinefunction(call)
