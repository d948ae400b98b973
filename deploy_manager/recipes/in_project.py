"""Running our scripts inside the site's project, by its own `manage.py shell`.

To load a project takes longer than most of what is done with it. Steps that follow each other
therefore share one process, which loads it once and forks for each of them: see remote/parts.py.
The step that comes first starts it, and each one waits for its own part.
"""

import hashlib
import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from deploy_manager.exceptions import NeverBegun
from deploy_manager.logs import mask_text
from deploy_manager.recipes.host import Host, LastingHost, Result, Site
from deploy_manager.recipes.shipping import remote_script

RUNNER = "parts.py"
MARK = "\x1e"
"""What the line that ends a part begins with, as there."""


@dataclass(frozen=True)
class Part:
    """What a step does inside the project."""

    script: str
    """A file of `recipes/remote`, which reads its facts as JSON from stdin."""

    facts: Callable[[Site], Mapping[str, object]] = lambda site: {}


FORESEEN = "migrate"
"""A part that no step waits for, but a later stage."""

PARTS: dict[str, Part] = {}
"""By the name of the step's recipe; each module of recipes adds its own."""


def run_in_project(
    host: Host,
    site: Site,
    name: str,
    facts: Mapping[str, object],
    timeout: float | None = None,
    assume: Result | int = 0,
) -> Result:
    """Run one of our scripts inside the project of the release, whatever the outcome; not logged.

    It sees the settings as manage.py loads them, and reads `facts` from stdin as JSON. The
    project's own code may print before it.
    """
    line, stdin = _command(site, [_sent(name, name, facts)])
    return host.run(line, stdin=stdin, timeout=timeout, quiet=True, check=False, assume=assume)


def run_part(host: Host, site: Site, name: str, assume: Result | int = 0) -> Result:
    """Run what the step `name` does inside the project, as `run_in_project` does.

    In the process that it shares with the steps before and after it, if there are any.
    """
    if name in site.together and isinstance(host, LastingHost):
        result = _run_together(host, site, name)
        if result is not None:
            return result
    part = PARTS[name]
    return run_in_project(host, site, part.script, part.facts(site), assume=assume)


def _run_together(host: LastingHost, site: Site, name: str) -> Result | None:
    """Return how a part of the shared process ended; None if it was not run there."""
    parts = [_sent(each, PARTS[each].script, PARTS[each].facts(site)) for each in site.together]
    line, stdin = _command(site, parts)
    later = site.together[site.together.index(name) + 1 :]
    mark = f"{MARK}{name} "
    try:
        seen = host.run_until(
            line,
            # The last to come waits for the end of the process, so that nothing runs on behind it.
            mark if set(later) - {FORESEEN} else None,
            stdin=stdin,
            begun_by=site.begun_by,
            steps=len(parts),
        )
    except NeverBegun:
        return None
    printed, found, rest = seen.stdout.partition(mark)
    if found:
        return _result_of(rest.partition("\n")[0], printed, seen)
    # The project could not be loaded, or not be forked: then it was the first part, or none.
    return seen if name == site.together[0] else None


def _result_of(line: str, printed: str, seen: Result) -> Result:
    """Return a part's own result, with what the project printed as it was loaded."""
    answer: dict[str, Any] = json.loads(line)
    loading = printed.partition(MARK)[0]
    # Masked as it would be if it came from a command of its own.
    said = mask_text(answer["stderr"])
    # To stderr only the loading writes.
    return Result(answer["code"], loading + answer["stdout"], seen.stderr + said)


def _sent(name: str, script: str, facts: Mapping[str, object]) -> dict[str, object]:
    """Return a part as remote/parts.py reads it."""
    source = remote_script(script).decode()
    return {"name": name, "script": script, "source": source, "facts": facts}


def _command(site: Site, parts: Sequence[Mapping[str, object]]) -> tuple[str, bytes]:
    """Return the line that runs parts inside the project, and its input.

    Scripts come by standard input: a file that others could change is never run. Their names are in
    the line for who reads it, in a plan, too; their hash, so that a journal tells them apart.
    """
    stdin = json.dumps({"runner": remote_script(RUNNER).decode(), "parts": parts}).encode()
    sources = json.dumps([each["source"] for each in parts]) + remote_script(RUNNER).decode()
    start = (
        "import json, sys; given = json.load(sys.stdin);"
        f" exec(compile(given['runner'], {RUNNER!r}, 'exec'), {{'given': given}})"
        f"  # {', '.join(str(each['script']) for each in parts)}"
        f" {hashlib.sha256(sources.encode()).hexdigest()[:12]}"
    )
    # Without -v0 the shell prints what it imports.
    return site.manage("shell", "-v0", "-c", start), stdin
