"""Overrides on a command line: listed, and let go."""

from dataclasses import dataclass

from deploy_manager.cli.exits import refusals, refuse
from deploy_manager.cli.packages.pins import FLAG, agrees, describe_pin
from deploy_manager.cli.text import clean
from deploy_manager.cli.views.base import Report, View, make_table
from deploy_manager.deployments.times import describe_moment
from deploy_manager.models import Environment, Override
from deploy_manager.packages.as_json import pin_as_json
from deploy_manager.packages.overrides import let_go, what_comes_back
from deploy_manager.requester import requester_name


def let_override_go(
    environment: Environment, name: str, reason: str, view: View, *, agreed: bool
) -> None:
    """Let the repository's pin of a package hold again.

    Raises CommandError (exit code 2) if a known advisory comes back and this is not agreed to.
    """
    pin = what_comes_back(environment, name)
    # Without a reason it is refused below in any case: asking before would be in vain.
    if pin.advisories and reason.strip() and not agreed:
        change = clean(describe_pin(pin))
        if not agrees(f"Let go: {change}? [y/N] ", view):
            refuse(f"A known advisory would come back: {change}. Add {FLAG} to agree.")
    with refusals():
        let_go(environment, name, by=requester_name(), reason=reason)
    view.write("let_go", environment=str(environment), **pin_as_json(pin))
    view.remark(f"The next deployment takes the repository's pin: {describe_pin(pin)}.")
    view.write("summary", environment=str(environment), state="let_go", overrides=1)


@dataclass(frozen=True)
class OverridesReport(Report):
    """The overrides of an environment."""

    environment: Environment
    with_ended: bool

    def _rows(self) -> list[Override]:
        found = self.environment.overrides.select_related("upgrade")
        return list(found if self.with_ended else found.live())

    def print_on(self, view: View) -> None:
        rows = self._rows()
        if not rows:
            view.remark(f"Nothing is held over the repository of {self.environment}.")
            return
        table = make_table(
            "package", "version", "repository had", "since", "why", "fixes", "upgrade", "state"
        )
        for row in rows:
            state = "holds" if row.is_live else f"{row.get_ended_how_display()}: {row.ended_why}"
            marker = f" ; {row.marker}" if row.marker else ""
            table.add_row(
                clean(f"{row.name}{marker}"),
                clean(row.version or "removed"),
                clean(row.before_text or "-"),
                describe_moment(row.since, self.environment),
                clean(str(row.why)),
                clean(row.fixes_text),
                f"#{row.upgrade_id}" if row.upgrade_id else "-",
                clean(state),
            )
        view.print_table(table)
        if self.environment.pins_from != Environment.PinsFrom.COMMIT:
            view.remark(
                "They have no effect now: the pins are listed on the environment, not in the"
                " repository."
            )

    def write_on(self, view: View) -> None:
        rows = self._rows()
        for row in rows:
            view.write(
                "override",
                name=row.name,
                version=row.version,
                marker=row.marker,
                before=row.before,
                why=row.why,
                fixes=row.fixes,
                since=row.since.isoformat(),
                upgrade=row.upgrade_id,
                ended_at=row.ended_at.isoformat() if row.ended_at else None,
                ended_how=row.ended_how,
                ended_why=row.ended_why,
                ended_by=row.ended_by_name,
            )
        live = sum(row.is_live for row in rows)
        ended = len(rows) - live
        view.write("summary", environment=str(self.environment), live=live, ended=ended)
