"""What is kept of each kind, and what is past its time."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass

from django.template.defaultfilters import filesizeformat

from deploy_manager.cli.views.base import Report, View, make_table
from deploy_manager.deployments.retention import Holding
from deploy_manager.messages import Message


@dataclass(frozen=True)
class RetentionReport(Report):
    """The kinds of what is kept, and how much of each was removed just now."""

    held: Sequence[Holding]
    removed: Mapping[str, int]

    def print_on(self, view: View) -> None:
        table = make_table("What", "Kept for", "How many", "Size", "Past", "Removed")
        for each in self.held:
            table.add_row(
                str(Message(each.label)),
                "ever" if each.days is None else f"{each.days} days",
                str(each.count),
                "" if each.size is None else filesizeformat(each.size),
                str(each.past),
                str(self.removed.get(each.kind, 0)),
            )
        view.print_table(table)

    def write_on(self, view: View) -> None:
        for each in self.held:
            facts = {**asdict(each), "label": str(Message(each.label))}
            view.write("kept", **facts, removed=self.removed.get(each.kind, 0))
        view.write("summary", state="succeeded")
