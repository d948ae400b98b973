"""Windows and cron slots in named time zones; pure, no database."""

from deploy_manager.times.slots import check_cron, next_slot, slots_between
from deploy_manager.times.windows import (
    Window,
    check_zone,
    is_open,
    next_opening,
    parse_windows,
)

__all__ = [
    "Window",
    "check_cron",
    "check_zone",
    "is_open",
    "next_opening",
    "next_slot",
    "parse_windows",
    "slots_between",
]
