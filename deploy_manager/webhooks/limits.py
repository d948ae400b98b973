"""How often a webhook may be called: counted in Django's cache, for a minute at a time."""

import hashlib

from django.core.cache import cache

SECONDS = 60

GENUINE_MOST = 600
"""Genuine deliveries to one webhook in a minute."""

BAD_MOST_FOR_ONE = 60
"""Refused ones in a minute from one address to one webhook: its genuine ones wait then, too."""

BAD_MOST = 600
"""Refused ones in a minute from one address to any. Genuine ones are taken nevertheless: behind a
proxy all have one address, and whoever knows no webhook must not keep the forges out."""


def is_too_bad_for(address: str, key: str) -> bool:
    """Whether an address was refused too often of late at one webhook, which it has to know."""
    return _count(address, key) >= BAD_MOST_FOR_ONE


def is_too_bad(address: str) -> bool:
    """Whether an address was refused too often of late."""
    return _count(address) >= BAD_MOST


def note_bad(address: str, key: str) -> None:
    """Count a refused delivery."""
    _add(address, key)
    _add(address)


def is_too_often(key: str) -> bool:
    """Count a genuine delivery; whether there were too many of late."""
    return _add("genuine", key) > GENUINE_MOST


def _name(*parts: str) -> str:
    # Hashed: caches take no spaces and no long names.
    return f"deploy_manager.webhooks.{hashlib.sha256(' '.join(parts).encode()).hexdigest()}"


def _count(*parts: str) -> int:
    return int(cache.get(_name(*parts), 0))


def _add(*parts: str) -> int:
    name = _name(*parts)
    cache.add(name, 0, SECONDS)
    try:
        return cache.incr(name)
    except ValueError:  # the minute was over just now
        return 1
