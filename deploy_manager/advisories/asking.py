"""Asking one source of advisories after the other, each only about what is still unknown."""

import logging
from collections.abc import Iterable, Sequence
from dataclasses import replace

from django.utils.translation import gettext_noop as _
from packaging.utils import InvalidName, canonicalize_name

from deploy_manager.advisories.advice import Advice, Pair, one_for_each
from deploy_manager.advisories.in_time import each_in_time
from deploy_manager.advisories.sources import Source
from deploy_manager.exceptions import AdvisoriesUnavailable
from deploy_manager.messages import Message, join
from deploy_manager.requirements.versions import parsed_version

logger = logging.getLogger(__name__)

TIMEOUT = 120.0
"""Seconds for each source."""

GRACE = 1.0
"""Seconds after which a source that does not keep its time is left behind with what it has."""

LONGEST_PROBLEM = 500

_NOBODY = Advice(problem=Message(_("There is no source of advisories.")))


def advise(
    pairs: Iterable[Pair], sources: Sequence[Source], timeout: float = TIMEOUT
) -> dict[Pair, Advice]:
    """Return what is known against each pair of a name and a version; none is ever left out.

    A source is asked about what those before it gave no full answer to. What is unknown in the end
    has a problem, which says why for each source: it is never safe because nobody answered. Raises
    nothing for that.
    """
    wanted = {pair: _normalised(pair) for pair in pairs}
    left = sorted({normal for normal in wanted.values() if normal is not None})
    found: dict[Pair, Advice] = {}
    for source in sources:
        if not left:
            break
        answers = _ask(source, left, timeout)
        found.update((pair, _after(found.get(pair), answers[pair])) for pair in left)
        left = [pair for pair in left if found[pair].problem]
    return {
        pair: _not_checkable(pair) if normal is None else found.get(normal, _NOBODY)
        for pair, normal in wanted.items()
    }


def _normalised(pair: Pair) -> Pair | None:
    """None for what is not a name and a version.

    A local version (2.0+cpu) is asked about as the public one: databases list only those.
    """
    version = parsed_version(pair[1])
    try:
        name = canonicalize_name(pair[0], validate=True)
    except InvalidName:
        return None
    return None if version is None else (name, version.public)


def _not_checkable(pair: Pair) -> Advice:
    return Advice(
        problem=Message(
            _("%(name)s at %(version)s is not a name and version that can be looked up."),
            name=repr(pair[0]),
            version=repr(pair[1]),
        ),
        knows_version=False,
    )


def _ask(source: Source, pairs: Sequence[Pair], timeout: float) -> dict[Pair, Advice]:
    """Return an answer for each pair: the border of a source, behind which nothing is raised."""
    # In a thread, since a project's own source may not keep to its time.
    done = each_in_time(
        lambda _name: dict(source.advise(pairs, timeout)), [source.name], timeout + GRACE
    )
    try:
        if not done:
            raise AdvisoriesUnavailable(_("not within %(timeout)s s"), timeout=f"{timeout:g}")
        answers = done[source.name].result()
    except AdvisoriesUnavailable as error:
        problem = _no_answer(source, error.message)
        logger.warning("Advisories: %s", problem)
        return dict.fromkeys(pairs, Advice(problem=problem))
    except Exception as error:
        # Whatever is wrong with one source, the others are asked.
        logger.exception("Advisories: %s can't be asked", source.name)
        problem = _no_answer(source, Message(f"{type(error).__name__}: {error}"))
        return dict.fromkeys(pairs, Advice(problem=problem))
    return {pair: _named(source, answers.get(pair)) for pair in pairs}


def _named(source: Source, advice: Advice | None) -> Advice:
    if advice is None:
        problem = Message(_("%(source)s does not know this version"), source=source.name)
        return Advice(problem=_shown(problem), knows_version=False)
    if not advice.problem:
        return advice
    return replace(
        advice,
        problem=_shown(Message("%(source)s: %(why)s", source=source.name, why=advice.problem)),
    )


def _after(former: Advice | None, latter: Advice) -> Advice:
    """What two sources know together; the latter one knew enough if it has no problem."""
    if former is None:
        return latter
    return Advice(
        one_for_each([*latter.advisories, *former.advisories]),
        _shown(join([former.problem, latter.problem], "; ")) if latter.problem else Message(),
        knows_version=former.knows_version or latter.knows_version,
        stands_in=former.stands_in or former.knows_version,
    )


def _no_answer(source: Source, why: Message) -> Message:
    text = _("%(source)s did not answer: %(why)s")
    return _shown(Message(text, "advisories_unavailable", source=source.name, why=why))


def _shown(problem: Message) -> Message:
    return problem.masked(LONGEST_PROBLEM)
