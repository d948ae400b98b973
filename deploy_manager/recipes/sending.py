"""Sending wheels to a server that has no index: the worker sends those that it lacks."""

import json
from collections.abc import Sequence
from dataclasses import asdict
from functools import partial

from django.utils.translation import gettext_noop as _

from deploy_manager.exceptions import RecipeError
from deploy_manager.recipes.building import build_wheel
from deploy_manager.recipes.host import Host, Result, Site
from deploy_manager.recipes.packing import tags_zipapp
from deploy_manager.recipes.shipping import SHIPPED_LOCK, SHOWN_CHARACTERS, WHEELS, ship, ship_file
from deploy_manager.wheels.cache import Cache, Kept
from deploy_manager.wheels.providing import Provided, provide
from deploy_manager.wheels.python import ServerPython, own_python


def send_wheels(host: Host, site: Site, path: str) -> None:
    """Put the wheels of the pins beside the environment at `path`, and a lock of exactly these.

    The commands do not depend on which wheels are missing: a worker that takes over finds the
    answers in the journal, even if it built a different wheel than the one before.
    """
    python = _ask(host, site, path)
    provided = _provide(host, site, python)
    wheels = provided.wheels
    script = ship(host, site, "wheels.py")
    has = _wheels_there(host, site, script, wheels)
    for kept in wheels:
        if kept.sha256 not in has:
            host.put(kept.path, f"{_store(site)}/{kept.sha256}.whl")
    _lay(host, site, script, wheels, path)
    host.put(provided.lock.encode(), f"{path}/{SHIPPED_LOCK}")


def _ask(host: Host, site: Site, path: str) -> ServerPython:
    own = own_python()
    supposed = Result(0, json.dumps(asdict(own)), "")
    command = [f"{path}/bin/python", "-I", ship_file(host, site, tags_zipapp(site.cache))]
    answer = host.run(command, check=False, quiet=True, assume=supposed)
    try:
        return ServerPython.from_output(answer.stdout)
    except ValueError:
        last_line = answer.stderr.strip().rpartition("\n")[2] or "no answer that can be read"
        raise RecipeError(
            _("%(name)s does not report which wheels it accepts: %(last_line)s"),
            name=host.name,
            last_line=last_line[:1000],
        ) from None


def _provide(host: Host, site: Site, python: ServerPython) -> Provided:
    if not site.may_fetch:
        host.say("The worker downloads missing wheels and sends the server those that it lacks.")
        return Provided()
    build = partial(build_wheel, site, python)
    provided = provide(site.lock, python, site.index_url, Cache(site.wheels_cache), build)
    if "--hash=" not in site.lock:
        host.say("The lock file has no hashes: the files offered by the index are trusted.")
    host.say(f"{len(provided.wheels)} wheels for {python}.")
    return provided


def _wheels_there(host: Host, site: Site, script: str, wheels: Sequence[Kept]) -> frozenset[str]:
    facts = _facts(site, wheels, "")
    supposed = Result(0, "[]", "")
    answer = host.run([site.python, script], stdin=facts, quiet=True, assume=supposed)
    try:
        return frozenset(map(str, json.loads(answer.stdout.strip().rpartition("\n")[2])))
    except (ValueError, TypeError):
        raise RecipeError(
            _("%(name)s does not report which wheels it has: check its Python."), name=host.name
        ) from None


def _lay(host: Host, site: Site, script: str, wheels: Sequence[Kept], path: str) -> None:
    facts = _facts(site, wheels, f"{path}/{WHEELS}")
    answer = host.run([site.python, script], stdin=facts, check=False)
    if not answer.ok:
        raise RecipeError(
            answer.stderr.strip()[-SHOWN_CHARACTERS:] or "The wheels could not be linked."
        )


def _facts(site: Site, wheels: Sequence[Kept], target: str) -> bytes:
    pairs = [[kept.sha256, kept.path.name] for kept in wheels]
    return json.dumps({"store": _store(site), "wheels": pairs, "target": target}).encode()


def _store(site: Site) -> str:
    return f"{site.tools_path}/wheels"
