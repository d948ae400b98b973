"""The audit on a command line: advisories about what is installed or pinned."""

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass

from deploy_manager.cli.text import clean, shorten
from deploy_manager.cli.views.base import Report, View, make_table
from deploy_manager.models import Placement
from deploy_manager.packages.as_json import exposure_as_json, unknown_as_json, unseen_as_json
from deploy_manager.packages.exposure import Exposure, Unknown


@dataclass(frozen=True)
class AuditReport(Report):
    """Vulnerable versions, versions without an answer, and servers never asked."""

    checked: int
    exposed: Sequence[Exposure]
    unknown: Sequence[Unknown]
    unseen: Sequence[Placement]

    def print_on(self, view: View) -> None:
        if self.exposed:
            self._print_table(view)
        # A source that is away is one reason for many versions.
        for (environment, reason), versions in self._unknown_by_reason().items():
            view.remark(f"unknown: {environment}, {shorten(versions)}: {reason}")
        for placement in self.unseen:
            reason = (
                placement.inventory_problem or "It has never been asked: run manage.py inventory."
            )
            view.remark(
                f"unknown: {placement.environment}, packages of {placement.server}: {reason}"
            )
        if not self.exposed:
            known = self.checked - len({(each.name, each.version) for each in self.unknown})
            if known < self.checked:
                view.remark(f"{known} of {self.checked} versions could be checked.")
            if known or not self.checked:
                view.remark(f"{known} versions checked: no advisory is about any.")

    def _unknown_by_reason(self) -> dict[tuple[str, str], list[str]]:
        """Return the versions without an answer, by environment and by why there is none."""
        found: dict[tuple[str, str], list[str]] = defaultdict(list)
        for each in self.unknown:
            reason = each.problem or "It has not been looked up yet."
            found[str(each.environment), str(reason)].append(f"{each.name} {each.version}")
        return found

    def _print_table(self, view: View) -> None:
        table = make_table("environment", "package", "version", "where", "advisory", "fixed in")
        for each in self.exposed:
            servers = shorten([placement.server.name for placement in each.placements])
            places = ", ".join(filter(None, (servers, "pinned" if each.pinned else "")))
            for advisory in each.advisories:
                table.add_row(
                    str(each.environment),
                    each.name,
                    clean(each.version),
                    places,
                    clean(advisory.identifier),
                    clean(", ".join(advisory.first_fixed)) or "no version yet",
                )
        view.print_table(table)

    def write_on(self, view: View) -> None:
        for exposed in self.exposed:
            view.write("vulnerable", **exposure_as_json(exposed))
        for unknown in self.unknown:
            view.write("unknown", **unknown_as_json(unknown))
        for placement in self.unseen:
            view.write("unseen", **unseen_as_json(placement))
        view.write(
            "summary",
            checked=self.checked,
            vulnerable=len(self.exposed),
            unknown=len(self.unknown),
        )
