"""What runs on servers, on a command line."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

from deploy_manager.cli.text import clean
from deploy_manager.cli.views.base import Report, View, make_table
from deploy_manager.messages import Message
from deploy_manager.models import Placement, SeenProcess, Watch


@dataclass(frozen=True)
class ProcessReport(Report):
    """The servers that could not be asked, and each process of the others."""

    watches: Sequence[Watch]

    @property
    def is_well(self) -> bool:
        """Whether every server answered, and all that belongs there runs as it should."""
        up = SeenProcess.State.UP
        return all(
            not watch.problem and all(row.state == up for row in watch.processes.all())
            for watch in self.watches
        )

    def print_on(self, view: View) -> None:
        table = make_table("environment", "server", "process", "state", "since", "release", "")
        for watch in self.watches:
            placement = watch.placement
            for row in watch.processes.all():
                table.add_row(
                    str(placement.environment),
                    str(placement.server),
                    clean(str(row)),
                    row.state,
                    f"{row.since:%Y-%m-%d %H:%M %Z}",
                    clean(row.releases),
                    clean(str(row.message)),
                )
        if table.rows:
            view.print_table(table)
        for watch in self.watches:
            placement = watch.placement
            for remark in _remarks(watch):
                view.remark(f"{placement.environment}, {placement.server}: {remark}")

    def write_on(self, view: View) -> None:
        for watch in self.watches:
            view.write(
                "watch",
                **_place(watch.placement),
                problem=watch.problem,
                seen_at=_iso(watch.seen_at),
                supervisor=watch.supervisor,
                rebooted_at=_iso(watch.rebooted_at),
                back_at=_iso(watch.back_at),
                starts=watch.starts,
                start_problem=watch.start_problem,
            )
            for row in watch.processes.all():
                view.write(
                    "process",
                    **_place(watch.placement),
                    process=row.name,
                    instance=row.instance,
                    state=row.state,
                    since=_iso(row.since),
                    release=row.releases,
                    message=row.message,
                )
        view.write("summary", state="up" if self.is_well else "down", asked=len(self.watches))


def _remarks(watch: Watch) -> list[str | Message]:
    found: list[str | Message] = []
    if watch.problem:
        found.append(watch.problem)
    elif not watch.processes.all():
        found.append("No process of ours runs there.")
    if watch.rebooted_at is not None and watch.back_at is None:
        found.append(f"It was rebooted {watch.rebooted_at:%Y-%m-%d %H:%M %Z}; not all runs again.")
    if watch.start_problem:
        found.append(watch.start_problem)
    return found


def _place(placement: Placement) -> dict[str, str]:
    return {"environment": str(placement.environment), "server": placement.server.name}


def _iso(moment: datetime | None) -> str | None:
    return moment.isoformat() if moment else None
