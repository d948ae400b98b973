"""Pins, and what is known of packages. Pure: no database; asks package indexes and advisories."""

from deploy_manager.requirements.advice import Advice, KnownAdvisory
from deploy_manager.requirements.advising import advise
from deploy_manager.requirements.any_file import folder_files, read_asking
from deploy_manager.requirements.asked import (
    Address,
    Asked,
    Asking,
    IndexOption,
    Problem,
    Secret,
)
from deploy_manager.requirements.completing import complete_pins, find_pins, take_pins
from deploy_manager.requirements.decoding import decode
from deploy_manager.requirements.exporting import export_pylock, export_requirements
from deploy_manager.requirements.fitting import check_fit
from deploy_manager.requirements.index_facts import (
    IndexProblem,
    PackageFacts,
    VersionFacts,
    look_up,
    look_up_many,
)
from deploy_manager.requirements.line_kinds import Files
from deploy_manager.requirements.moving import Moved, PinMove, move_pins
from deploy_manager.requirements.overriding import HeldPackage, Overlaid, Standing, put_over
from deploy_manager.requirements.patching import patch_pins, refuse_unpatchable
from deploy_manager.requirements.pinning import NOT_PINNED, Pinned, pin_asking
from deploy_manager.requirements.pins import Pin, PinChange, compare_pins, lock_digest, lock_text
from deploy_manager.requirements.reach import PinWish, Reach
from deploy_manager.requirements.reading import (
    as_bytes,
    check_whole,
    read_pins,
    read_pins_of,
    tell_problems,
)
from deploy_manager.requirements.targets import Target

__all__ = [
    "NOT_PINNED",
    "Address",
    "Advice",
    "Asked",
    "Asking",
    "Files",
    "HeldPackage",
    "IndexOption",
    "IndexProblem",
    "KnownAdvisory",
    "Moved",
    "Overlaid",
    "PackageFacts",
    "Pin",
    "PinChange",
    "PinMove",
    "PinWish",
    "Pinned",
    "Problem",
    "Reach",
    "Secret",
    "Standing",
    "Target",
    "VersionFacts",
    "advise",
    "as_bytes",
    "check_fit",
    "check_whole",
    "compare_pins",
    "complete_pins",
    "decode",
    "export_pylock",
    "export_requirements",
    "find_pins",
    "folder_files",
    "lock_digest",
    "lock_text",
    "look_up",
    "look_up_many",
    "move_pins",
    "patch_pins",
    "pin_asking",
    "put_over",
    "read_asking",
    "read_pins",
    "read_pins_of",
    "refuse_unpatchable",
    "take_pins",
    "tell_problems",
]
