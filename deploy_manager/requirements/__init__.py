"""Pins, and what is known of packages. Pure: no database; asks package indexes and advisories."""

from deploy_manager.requirements.advice import Advice, KnownAdvisory
from deploy_manager.requirements.advising import advise
from deploy_manager.requirements.completing import complete_pins
from deploy_manager.requirements.index_facts import (
    IndexProblem,
    PackageFacts,
    VersionFacts,
    look_up,
    look_up_many,
)
from deploy_manager.requirements.moving import Moved, PinMove, move_pins
from deploy_manager.requirements.patching import patch_pins
from deploy_manager.requirements.pins import Pin, PinChange, compare_pins, lock_digest, lock_text
from deploy_manager.requirements.reach import PinWish, Reach
from deploy_manager.requirements.reading import read_pins
from deploy_manager.requirements.targets import Target

__all__ = [
    "Advice",
    "IndexProblem",
    "KnownAdvisory",
    "Moved",
    "PackageFacts",
    "Pin",
    "PinChange",
    "PinMove",
    "PinWish",
    "Reach",
    "Target",
    "VersionFacts",
    "advise",
    "compare_pins",
    "complete_pins",
    "lock_digest",
    "lock_text",
    "look_up",
    "look_up_many",
    "move_pins",
    "patch_pins",
    "read_pins",
]
