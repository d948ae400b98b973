"""How young a version may be: uploads after a moment are not taken, but what is pinned stays."""

from collections.abc import Collection, Sequence
from datetime import UTC, datetime, timedelta

from deploy_manager.requirements.index_facts import PackageFacts, look_up_many
from deploy_manager.requirements.pins import Pin

FAR = datetime(9000, 1, 1, tzinfo=UTC)


def cooldown_options(
    pins: Sequence[Pin], index_url: str, before: datetime | None, exempt: Collection[str]
) -> list[str]:
    """Return the options with which uv takes nothing uploaded at `before` or later.

    A pin that is younger itself may stay: its package has the moment of its own upload. A package
    whose upload times the index does not tell can't be judged: it may stay, too, and what uv takes
    of it is as old as its index says, that is of no age.
    """
    if before is None:
        return []
    facts = look_up_many(sorted({pin.name for pin in pins}), index_url)
    limits = dict.fromkeys(exempt, FAR)
    for pin in pins:
        found = facts.get(pin.name)
        about = found.of(pin.version) if isinstance(found, PackageFacts) else None
        uploaded = about.uploaded_at if about else None
        if pin.name not in limits and (uploaded is None or uploaded >= before):
            limits[pin.name] = uploaded + timedelta(seconds=1) if uploaded else FAR
    return [
        f"--exclude-newer={_written(before)}",
        *(f"--exclude-newer-package={name}={_written(at)}" for name, at in sorted(limits.items())),
    ]


def _written(moment: datetime) -> str:
    return moment.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
