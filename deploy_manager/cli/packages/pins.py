"""Pins that change and overrides, for people and programs; and the consent to taking pins back."""

from collections.abc import Sequence

from deploy_manager.cli.exits import refuse
from deploy_manager.cli.text import clean
from deploy_manager.cli.views.base import View
from deploy_manager.packages.downgrades import REMOVED, ChangedPin
from deploy_manager.packages.overrides import StandingOverride
from deploy_manager.requirements.pins import Detail

FLAG = "--take-back"
SECURITY = "bold red"
DETAILS = {
    Detail.FILE: "another file",
    Detail.EXTRAS: "other extras",
    Detail.MARKER: "another marker",
}


def agree_to_take_back(changes: Sequence[object], view: View, *, agreed: bool) -> None:
    """Return if nothing is taken back, or if that is agreed to: by the flag, or when asked.

    Raises CommandError (exit code 2) otherwise.
    """
    if agreed or not changes:
        return
    pins = clean("; ".join(map(str, changes)))
    if not agrees(f"Take back {pins}? [y/N] ", view):
        refuse(
            f"This would take back what an upgrade or a fix brought: {pins}. Add {FLAG} to agree,"
            " or pin at least these versions in the repository."
        )


def agrees(question: str, view: View) -> bool:
    """Ask a person; without one there is no consent."""
    if not view.can_ask:
        return False
    try:
        return view.ask(question).strip().lower() in ("y", "yes")
    except (KeyboardInterrupt, EOFError):
        return False


def describe_pin(pin: ChangedPin) -> str:
    """Return a line like `shopkit 1.0.2 → 1.0, goes back, vulnerable: GHSA-…`."""
    if not pin.before or not pin.after:
        change = "added" if pin.after else "removed"
    else:
        change = "goes back" if pin.goes_back else ""
    versions = f"{pin.before or '-'} → {pin.after or '-'}"
    parts = [f"{pin.name} {pin.after if pin.before == pin.after else versions}", change]
    parts += [DETAILS[detail] for detail in pin.details]
    if pin.undoes:
        parts.append(describe_undone(pin.undoes))
    if pin.advisories:
        parts.append(f"vulnerable: {', '.join(pin.advisories)}")
    return clean(", ".join(filter(None, parts)))


def describe_override(override: StandingOverride) -> str:
    """Return a line with what is held, whether it still holds, and why it was moved."""
    return clean(f"{override.name} {override.version or '-'} {override.outcome} ({override.why})")


def describe_undone(version: str) -> str:
    """Return what an upgrade had done that is taken back; see ChangedPin.undoes."""
    return "an upgrade had removed it" if version == REMOVED else f"an upgrade brought {version}"
