"""The cooldown as options of uv: recent uploads are not considered, but what is pinned stays."""

from collections.abc import Collection, Sequence
from datetime import UTC, datetime, timedelta

from deploy_manager.requirements.index_facts import PackageFacts, look_up_many
from deploy_manager.requirements.pins import Pin

NO_LIMIT = "false"
"""Makes uv accept files without an upload time, too."""


def cooldown_options(
    pins: Sequence[Pin], index_url: str, before: datetime | None, exempt: Collection[str]
) -> list[str]:
    """Return the options that keep uv from versions uploaded at `before` or later.

    A pin that is younger itself may stay: the limit of its package is its own upload. A package
    whose upload times the index does not give has no limit, as it can't be judged.
    """
    if before is None:
        return []
    facts = look_up_many(sorted({pin.name for pin in pins}), index_url)
    limits = dict.fromkeys(exempt, NO_LIMIT)
    for pin in pins:
        found = facts.get(pin.name)
        about = found.of(pin.version) if isinstance(found, PackageFacts) else None
        uploaded = about.uploaded_at if about else None
        if pin.name not in limits and (uploaded is None or uploaded >= before):
            # uv takes what was uploaded before the limit, which is written in whole seconds.
            at = uploaded + timedelta(seconds=1) if uploaded else None
            limits[pin.name] = _written(at) if at else NO_LIMIT
    return [
        f"--exclude-newer={_written(before)}",
        *(f"--exclude-newer-package={name}={limit}" for name, limit in sorted(limits.items())),
    ]


def _written(moment: datetime) -> str:
    return moment.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
