"""Installed packages on a command line: which servers differ, and which run a version."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from django.db.models import QuerySet

from deploy_manager.cli.exits import refuse
from deploy_manager.cli.text import clean, shorten
from deploy_manager.cli.views.base import Report, View, make_table
from deploy_manager.messages import Message
from deploy_manager.models import Environment, Placement
from deploy_manager.packages.as_json import place_as_json, running_as_json
from deploy_manager.packages.drift import drift
from deploy_manager.packages.exposure import WhoRuns, who_runs


def find_placements(
    environments: Sequence[Environment], servers: Sequence[str]
) -> QuerySet[Placement]:
    """Return the placements to ask. Raises CommandError (exit code 2) for an unknown server."""
    placements = Placement.objects.filter(environment__in=environments)
    known = list(dict.fromkeys(placements.values_list("server__name", flat=True)))
    if unknown := [name for name in servers if name not in known]:
        refuse(f"No such server: {', '.join(unknown)}. Servers: {shorten(known) or 'none'}.")
    if not known:
        refuse("There are no servers to ask.")
    if servers:
        placements = placements.filter(server__name__in=servers)
    return placements.select_related("environment__project", "server").order_by(
        "environment__project__name", "environment__name", "order", "server__name"
    )


@dataclass(frozen=True)
class InventoryReport(Report):
    """The servers that could not be asked; then drift, or the servers that run a version."""

    placements: Sequence[Placement]
    problems: Mapping[int, Message]
    """By the placement's primary key; blank for one that answered."""

    bounds: str
    """Like `django<5.2.8`; blank to show drift."""

    def print_on(self, view: View) -> None:
        for placement in self.placements:
            if problem := self.problems.get(placement.pk):
                view.remark(f"{placement.environment}, {placement.server}: {problem}")
        if self.bounds:
            self._print_running(view)
        else:
            self._print_drift(view)

    def _print_running(self, view: View) -> None:
        running = self._running()
        if running.found or running.unordered:
            table = make_table("environment", "server", "version", "")
            for remark, rows in (
                ("", running.found),
                ("this version can't be compared", running.unordered),
            ):
                for each in rows:
                    place = each.placement
                    table.add_row(
                        str(place.environment), str(place.server), clean(each.version), remark
                    )
            view.print_table(table)
        else:
            view.remark(f"No server is known to run {self.bounds}.")
        if running.unseen:
            names = shorten([f"{each.environment} on {each.server}" for each in running.unseen])
            view.remark(f"Unknown, since not asked or not answered: {names}.")

    def _print_drift(self, view: View) -> None:
        environments = self._environments()
        found = drift(environments)
        if found:
            table = make_table("environment", "package", "pinned", "installed")
            for each in found:
                # Like `5.2.8: web1, web2; none: web3`.
                installed = "; ".join(
                    f"{clean(version) or 'none'}: {shorten([one.server.name for one in places])}"
                    for version, places in sorted(each.versions.items(), reverse=True)
                )
                pinned = clean(", ".join(each.pinned) or "no")
                table.add_row(str(each.environment), each.name, pinned, installed)
            view.print_table(table)
        differing = {each.environment.pk for each in found}
        for environment in environments:
            if environment.pk not in differing:
                view.remark(
                    f"{environment}: no server that answered differs from the others or the pins."
                )

    def write_on(self, view: View) -> None:
        # Read anew: taking the inventories has changed the rows.
        asked = Placement.objects.filter(pk__in=self.problems).prefetch_related("installed")
        named = {placement.pk: placement for placement in self.placements}
        for placement in asked:
            seen = placement.inventory_at
            view.write(
                "inventory",
                **place_as_json(named[placement.pk]),
                seen_at=seen.isoformat() if seen else None,
                problem=self.problems[placement.pk],
                implementation=placement.implementation,
                python=placement.python_version,
                platform=placement.platform,
                libc=placement.libc,
                packages={package.name: package.version for package in placement.installed.all()},
            )
        if self.bounds:
            running = self._running()
            for is_comparable, rows in ((True, running.found), (False, running.unordered)):
                for each in rows:
                    view.write("runs", **running_as_json(each, is_comparable=is_comparable))
        else:
            self._write_drift(view)
        answered = sum(1 for problem in self.problems.values() if not problem)
        view.write("summary", asked=len(self.problems), answered=answered)

    def _write_drift(self, view: View) -> None:
        for each in drift(self._environments()):
            versions = {
                version: [one.server.name for one in placements]
                for version, placements in each.versions.items()
            }
            view.write(
                "drift",
                environment=str(each.environment),
                package=each.name,
                pinned=list(each.pinned),
                versions=versions,
            )

    def _environments(self) -> list[Environment]:
        return list({each.environment_id: each.environment for each in self.placements}.values())

    def _running(self) -> WhoRuns:
        """Return the servers that run the version, of those that were asked."""
        asked = {each.pk for each in self.placements}
        running = who_runs(self.bounds, self._environments())
        return WhoRuns(
            tuple(each for each in running.found if each.placement.pk in asked),
            tuple(each for each in running.unordered if each.placement.pk in asked),
            tuple(each for each in running.unseen if each.pk in asked),
        )
