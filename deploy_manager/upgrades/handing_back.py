"""Giving what an upgrade installed back to the repository that says what is installed.

A commit on a ref of our own in the worker's mirror, and a patch to download: who keeps the
repository fetches or applies it. Nothing is ever pushed.
"""

import logging
import re
import shlex
import socket
from collections.abc import Callable, Iterable
from datetime import timedelta
from functools import partial
from pathlib import Path
from typing import Any, TypeVar

from django.db.models import QuerySet
from django.utils import timezone
from django.utils.translation import gettext as _

from deploy_manager.exceptions import CodeError, DeployManagerError, PinError
from deploy_manager.git.amending import Change
from deploy_manager.git.mirror import Mirror
from deploy_manager.isolation import explain, one_by_one
from deploy_manager.logs import mask_text, plain
from deploy_manager.models import (
    Environment,
    PolicyRun,
    Upgrade,
    UpgradePolicy,
    UpgradeStage,
    UpgradeState,
)
from deploy_manager.packages.pins import pins_in
from deploy_manager.packages.repository import mirror_of
from deploy_manager.requirements.patching import patch_pins, refuse_unpatchable
from deploy_manager.requirements.pins import compare_pins
from deploy_manager.requirements.reading import read_pins
from deploy_manager.upgrades.candidates import few
from deploy_manager.upgrades.policies import AT_WORK

logger = logging.getLogger(__name__)

JOB = "handed pins back"
"""Its name among the jobs of the reconcile loop."""

T = TypeVar("T")
Amendment = tuple[str, str, Change, str]
"""On which commit, which file, its change, and the message."""

OWN_REF = "refs/deploy-manager/upgrade-{}"
LOOKS_BACK = timedelta(days=1)
"""What succeeded longer ago is not handed back by itself: its policy may not have said so then."""


def hand_back_what_succeeded() -> int:
    """Hand back each upgrade whose policy says so, once; return how many there were."""
    return sum(one_by_one(JOB, _succeeded(), _hand_back_once))


def _hand_back_once(upgrade: Upgrade) -> bool:
    return not _is_handed_back(upgrade) and hand_back(upgrade)


def hand_back(upgrade: Upgrade) -> bool:
    """Commit what an upgrade of a policy installed, and note on the policy's run where that is.

    What can't be handed back is noted with the reason, and not tried again. False where another
    process noted it.
    """
    run = upgrade.policy_run
    if run is None:
        return False
    lines = [_hand_back(stage) for stage in _last_stages(upgrade)]
    told = "\n".join(lines) or _("Upgrade #%(number)d has nothing to hand back (%(ref)s).") % {
        "number": upgrade.pk,
        "ref": OWN_REF.format(upgrade.pk),
    }
    unchanged = PolicyRun.objects.filter(pk=run.pk, outcome=run.outcome)
    return bool(unchanged.update(outcome=f"{run.outcome}\n{told}"))


def patch_of(stage: UpgradeStage) -> bytes:
    """Return a stage as a patch of the requirements file, for `git am` and `git apply`.

    Raises CodeError where the commit or the file is out of reach, or where pins are not kept in
    the repository; PinError where the file can't be made to say what is installed.
    """
    amendment = _amendment(stage)
    return _with_mirror(stage, lambda mirror: mirror.patch(*amendment))


def keep_as_commit(stage: UpgradeStage) -> str:
    """Commit a stage's pins in the worker's mirror, once, and return the command that fetches them.

    Raises as `patch_of`.
    """
    ref = f"{OWN_REF.format(stage.upgrade_id)}-{stage.number}"
    amendment = _amendment(stage)
    folder = _with_mirror(stage, lambda mirror: _commit(mirror, amendment, ref))
    return f"git fetch {shlex.quote(str(folder))} {ref}"


def patchable(stages: QuerySet[UpgradeStage]) -> QuerySet[UpgradeStage]:
    """Return those that succeeded where the repository says what is installed."""
    return stages.filter(
        state=UpgradeState.SUCCEEDED, environment__pins_from=Environment.PinsFrom.COMMIT
    ).select_related(
        "upgrade", "environment__project", "release_before", "lock_after", "deployment__release"
    )


def _succeeded() -> QuerySet[Upgrade]:
    return (
        Upgrade.objects.filter(
            state=UpgradeState.SUCCEEDED,
            finished_at__gte=timezone.now() - LOOKS_BACK,
            policy_run__policy__hand_back=UpgradePolicy.HandBack.BRANCH,
        )
        .exclude(policy_run__outcome__in=["", AT_WORK])
        .select_related("policy_run__policy")
        .order_by("pk")
    )


def _is_handed_back(upgrade: Upgrade) -> bool:
    noted = upgrade.policy_run.outcome if upgrade.policy_run else ""
    return bool(re.search(rf"{re.escape(OWN_REF.format(upgrade.pk))}(?!\d)", noted))


def _last_stages(upgrade: Upgrade) -> Iterable[UpgradeStage]:
    """For each project whose repository says what is installed: its environment that came last."""
    known = patchable(upgrade.stages.all()).order_by("number")
    return {stage.environment.project_id: stage for stage in known}.values()


def _hand_back(stage: UpgradeStage) -> str:
    """Commit a stage's pins; return where they are, or why they are nowhere."""
    ref = OWN_REF.format(stage.upgrade_id)
    words = {"number": stage.upgrade_id, "project": stage.environment.project, "ref": ref}
    try:
        amendment = _amendment(stage)
        folder = _with_mirror(stage, lambda mirror: _commit(mirror, amendment, ref))
    except Exception as error:
        # Whatever it is, it is noted and not tried again: pins are handed back, or it is said why.
        if not isinstance(error, DeployManagerError):
            logger.exception("%s could not be handed back", stage)
        text = _("Upgrade #%(number)d succeeded, and %(project)s has no %(ref)s: %(reason)s")
        return text % {**words, "reason": mask_text(explain(error))}
    text = _(
        "Upgrade #%(number)d succeeded: the pins of %(project)s are %(ref)s in %(folder)s on"
        " %(host)s."
    )
    return text % {**words, "folder": folder, "host": socket.gethostname()}


def _commit(mirror: Mirror, amendment: Amendment, ref: str) -> Path:
    mirror.amend(*amendment, ref)
    return mirror.folder


def _with_mirror(stage: UpgradeStage, act: Callable[[Mirror], T]) -> T:
    """Act on the project's mirror as it is; fetch first where a commit is missing in it."""
    mirror = mirror_of(stage.environment.project)
    try:
        return act(mirror)
    except CodeError:
        mirror.update()
        return act(mirror)


def _amendment(stage: UpgradeStage) -> Amendment:
    """What is committed: on which commit, to which file, which change, with which message."""
    environment = stage.environment
    if environment.pins_from != Environment.PinsFrom.COMMIT:
        raise CodeError(
            _("The pins of %(site)s are listed on it, not in its repository.")
            % {"site": environment}
        )
    release = stage.release_before or (stage.deployment and stage.deployment.release)
    if not release:
        raise CodeError(
            _("It is not known any more which commit serves %(site)s.") % {"site": environment}
        )
    file = environment.project.requirements_file
    return release.commit, file, partial(_with_new_pins, stage, file), _message(stage)


def _with_new_pins(stage: UpgradeStage, file: str, text: str) -> str:
    """Return the file with the pins that moved. Raises PinError where it would not say them all."""
    refuse_unpatchable(text, file)
    wanted = read_pins(stage.lock_after.text)
    changed = patch_pins(text, wanted)
    if left := compare_pins(read_pins(changed, file), wanted):
        names = few([change.name for change in left])
        raise PinError(
            _("%(file)s can't be made to pin %(names)s.") % {"file": file, "names": names}
        )
    return changed


def _message(stage: UpgradeStage) -> str:
    """For developers, in the language of commits: what moved, why, and where it serves."""
    moves = [f"{each['name']} to {each['after']}" for each in stage.moved if each["after"]]
    subject = f"Upgrade {moves[0]}" if len(moves) == 1 else f"Upgrade {len(moves)} packages"
    told = "\n".join(map(_one_line, [*map(_line, stage.moved), *_held_before(stage)]))
    where = f"Upgrade #{stage.upgrade_id} of {stage.environment}."
    return f"{_one_line(subject)}\n\n{told}\n\n{_one_line(where)}\n"


def _one_line(text: str) -> str:
    """What rows say, in a line that git takes: a patch in a message would be applied with it."""
    return " ".join(plain(mask_text(text)).split())


def _held_before(stage: UpgradeStage) -> list[str]:
    """The lines of what earlier upgrades moved: the repository does not have it yet, either."""
    release = stage.release_before
    if release is None or release.repository_lock is None:
        return []
    moved = {move["name"] for move in stage.moved}
    lacks = compare_pins(pins_in(release.repository_lock.text), read_pins(stage.lock_after.text))
    return [
        f"- {one.name} {one.before or '-'} -> {one.after or '-'}: moved by an earlier upgrade"
        for one in lacks
        if one.name not in moved
    ]


def _line(move: dict[str, Any]) -> str:
    fixes = f"; fixes {', '.join(move['fixes'])}" if move.get("fixes") else ""
    return (
        f"- {move['name']} {move['before'] or '-'} -> {move['after'] or '-'}: {move['why']}{fixes}"
    )
