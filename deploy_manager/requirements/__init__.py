"""Pins: reading, comparing and completing them. Pure: no database, no network but uv's own."""

from deploy_manager.requirements.completing import complete_pins
from deploy_manager.requirements.pins import Pin, PinChange, compare_pins, lock_digest, lock_text
from deploy_manager.requirements.reading import read_pins

__all__ = [
    "Pin",
    "PinChange",
    "compare_pins",
    "complete_pins",
    "lock_digest",
    "lock_text",
    "read_pins",
]
