"""Plans as people read them, and what they have to agree to."""

import shlex
from collections.abc import Iterator, Sequence

from rich.text import Text

from deploy_manager.client.exits import Refused
from deploy_manager.client.texts import clean, short, shorten
from deploy_manager.client.views import Row, View

WARNING = "bold yellow"
SHOWN_WAVES = 5

Fact = tuple[str, str | tuple[str, str]]
"""A label, blank for a further line of the same; and a text, or a text with its style."""


def show_plan(plan: Row, view: View) -> None:
    view.print(describe(plan))
    view.write("plan", **plan)


def describe(plan: Row) -> Text:
    """Return the lines that people read."""
    title = clean(f"{plan['environment']}: {plan['recipe']}")
    lines = [Text(title, "bold")]
    for label, text in _facts(plan):
        lines.append(Text.assemble((f"  {label:<9}", "dim"), text))
    lines += [Text(f"  {warning}", WARNING) for warning in _warnings(plan)]
    return Text("\n").join(lines)


def agree(plan: Row, view: View, *, take_back: bool, leave_others: bool, yes: bool) -> Row:
    """Return what was agreed to: by options, or by a person at a terminal. Raises Refused."""
    taken, left = taken_back(plan), list(plan.get("left_behind") or ())
    if taken and not take_back:
        take_back = agrees(f"Take back {shorten(taken)}? [y/N] ", view)
        if not take_back:
            raise Refused(
                f"This takes back what an upgrade or a fix brought: {shorten(taken)}. To agree, add"
                " --take-back."
            )
    if left and not leave_others:
        leave_others = agrees(f"Leave {shorten(left)} behind? [y/N] ", view)
        if not leave_others:
            raise Refused(
                f"{shorten(left)} would go on serving another commit. To leave them behind, add"
                " --leave-others."
            )
    what = f"{plan['recipe']} on {plan['environment']}"
    if view.can_ask and not yes and not agrees(f"{what} as shown? [y/N] ", view):
        raise Refused("Not confirmed, so nothing was requested.")
    return {"take_back": take_back, "leave_others": leave_others}


def taken_back(plan: Row) -> list[str]:
    return [str(pin["name"]) for pin in plan.get("to_confirm") or ()]


def agrees(question: str, view: View) -> bool:
    """Return whether a person says yes; without one, nobody does."""
    if not view.can_ask:
        return False
    try:
        return view.ask(question).strip().lower() in ("y", "yes")
    except EOFError:
        return False


def _facts(plan: Row) -> Iterator[Fact]:
    yield from _code(plan)
    for number, pin in enumerate(plan.get("pins") or ()):
        line = describe_pin(pin)
        yield "" if number else "pins", (line, WARNING) if pin.get("taken_back") else line
    if migrations := plan.get("migrations"):
        yield "migrate", f"New migrations: {shorten(migrations)}"
    held = [f"{each['name']} {each['version']}" for each in plan.get("overrides") or ()]
    yield from _several("override", held)
    yield from _several("build", plan.get("build") or ())
    yield from _places(plan)
    for name, label in (("approvals", "approval"), ("gate", "gate"), ("not_now", "not now")):
        for line in clean(plan.get(name)).splitlines():
            yield label, (line, WARNING)


def _several(label: str, texts: Sequence[object]) -> Iterator[Fact]:
    for number, line in enumerate(clean("\n".join(map(str, texts))).splitlines()):
        yield "" if number else label, line


def _places(plan: Row) -> Iterator[Fact]:
    """Yield the servers, and the waves in which they come."""
    servers, waves = plan.get("servers") or (), plan.get("waves") or ()
    yield "servers", shorten(servers)
    if left := plan.get("left"):
        yield "", f"left out, no longer in the environment: {shorten(left)}"
    if max(waves, default=1) > 1:
        yield "waves", _waves(servers, waves)


def _code(plan: Row) -> Iterator[Fact]:
    """Yield the command that is run, the release that is switched to, or the commit deployed."""
    if words := plan.get("arguments"):
        yield "command", clean(f"manage.py {shlex.join(map(str, words))}").replace("\n", " ")
    elif release := plan.get("release"):
        yield "release", clean(release)
    elif commit := plan.get("commit"):
        now = short(plan.get("commit_now")) or "nothing yet"
        same = ", as it is" if commit == plan.get("commit_now") else ""
        ref = clean(plan.get("ref"))
        ref = f" of {ref}" if ref and ref != commit else ""
        yield "commit", f"{now} → {short(commit)}{ref}{same}"
    if source := plan.get("promotes"):
        yield "from", f"exactly what {clean(source)} serves"
    if bad := plan.get("bad"):
        yield "", clean(bad)


def describe_pin(pin: Row) -> str:
    """Return a change of a pin like `django 5.2.7 → 5.2.8`, and what it fixes."""
    before, after = clean(pin.get("before")) or "new", clean(pin.get("after")) or "removed"
    fixes = f" ({shorten(pin['advisories'])})" if pin.get("advisories") else ""
    return f"{clean(pin.get('name'))} {before} → {after}{fixes}".replace("\n", " ")


def _waves(servers: Sequence[object], waves: Sequence[int]) -> str:
    last = max(waves)
    shown = [
        shorten([server for server, wave in zip(servers, waves, strict=False) if wave == number])
        for number in range(1, min(last, SHOWN_WAVES) + 1)
    ]
    return f"{last}: {' | '.join(shown)}{' | …' if last > SHOWN_WAVES else ''}"


def _warnings(plan: Row) -> Iterator[str]:
    for module, why in (plan.get("broken") or {}).items():
        yield clean(f"{module} can't be imported, so what it adds is missing: {why}")
    for line in plan.get("foreseen") or ():
        yield from clean(line).splitlines()
    if left := plan.get("left_behind"):
        yield f"{shorten(left)} would go on serving another commit."
    if taken := taken_back(plan):
        yield f"This takes back what an upgrade or a fix brought: {shorten(taken)}."
