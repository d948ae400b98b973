"""Hand the pins of an upgrade back to the repository: as a patch, or as a commit to fetch.

The commit is kept on a ref of its own in the worker's mirror. Nothing is ever pushed: the
maintainers of the repository fetch it, or apply the patch.
"""

import logging
import re
import shlex
import socket
from collections.abc import Callable
from datetime import timedelta
from functools import partial
from pathlib import Path
from typing import TypeVar

from django.db.models import QuerySet
from django.utils import timezone
from django.utils.translation import gettext_noop as _

from deploy_manager.exceptions import CodeError, DeployManagerError, PinError
from deploy_manager.git.amending import Change
from deploy_manager.git.mirror import Mirror
from deploy_manager.isolation import explain, one_by_one
from deploy_manager.logs import log_error, mask_text, plain
from deploy_manager.messages import Message
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
"""The commit to change, the file, its change, and the commit message."""

OWN_REF = "refs/deploy-manager/upgrade-{}"
LOOKS_BACK = timedelta(days=1)
"""Older upgrades are not handed back automatically: their policy may not have asked for it then."""


def hand_back_what_succeeded() -> int:
    """Hand back, once, each upgrade whose policy says so; return how many there were."""
    succeeded = (
        Upgrade.objects.filter(
            state=UpgradeState.SUCCEEDED,
            finished_at__gte=timezone.now() - LOOKS_BACK,
            policy_run__policy__hand_back=UpgradePolicy.HandBack.BRANCH,
        )
        .exclude(policy_run__outcome__in=["", AT_WORK])
        .select_related("policy_run__policy")
        .order_by("pk")
    )

    def hand_back_once(upgrade: Upgrade) -> bool:
        outcome = str(upgrade.policy_run.outcome) if upgrade.policy_run else ""
        # The ref in the outcome marks it as done; upgrade-1 must not be found in upgrade-12.
        ref = re.escape(OWN_REF.format(upgrade.pk))
        return not re.search(rf"{ref}(?!\d)", outcome) and hand_back(upgrade)

    return sum(one_by_one(JOB, succeeded, hand_back_once))


def hand_back(upgrade: Upgrade) -> bool:
    """Commit the pins that a policy's upgrade installed, and note the ref on the policy's run.

    If they can't be handed back, the reason is noted, and it is not tried again. False if another
    process has noted it.
    """
    run = upgrade.policy_run
    if run is None:
        return False
    # Of each project, the last environment has the pins that all the others have.
    stages = patchable(upgrade.stages.all()).order_by("number")
    last_stages = {stage.environment.project_id: stage for stage in stages}
    text = Message.lines(*map(_hand_back, last_stages.values())) or Message(
        _("Upgrade #%(number)d has nothing to hand back (%(ref)s)."),
        number=upgrade.pk,
        ref=OWN_REF.format(upgrade.pk),
    )
    # By the text that was read: of two processes that hand back, one adds its line.
    unchanged = PolicyRun.objects.filter(pk=run.pk, outcome=run.outcome)
    return bool(unchanged.update(outcome=Message.lines(run.outcome, text)))


def patch_of(stage: UpgradeStage) -> bytes:
    """Return a stage as a patch of the requirements file, for `git am` and `git apply`.

    Raises CodeError if the commit or the file can't be read, or if the pins are not kept in the
    repository; PinError if the file can't be changed to pin what is installed.
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
    """Return those that succeeded in environments whose pins come from the repository."""
    return stages.filter(
        state=UpgradeState.SUCCEEDED, environment__pins_from=Environment.PinsFrom.COMMIT
    ).select_related(
        "upgrade", "environment__project", "release_before", "lock_after", "deployment__release"
    )


def _hand_back(stage: UpgradeStage) -> Message:
    """Commit a stage's pins; return a line that says where they are, or what went wrong."""
    ref = OWN_REF.format(stage.upgrade_id)
    words = {"number": stage.upgrade_id, "project": stage.environment.project, "ref": ref}
    try:
        amendment = _amendment(stage)
        folder = _with_mirror(stage, lambda mirror: _commit(mirror, amendment, ref))
    except Exception as error:
        # The border of a stage: any error is noted as the outcome, which ends the attempts.
        if not isinstance(error, DeployManagerError):
            log_error(logger, "%s could not be handed back", stage)
        text = _(
            "Upgrade #%(number)d succeeded, but its pins were not handed back to %(project)s"
            " (%(ref)s): %(reason)s"
        )
        return Message(text, **words, reason=explain(error))
    text = _(
        "Upgrade #%(number)d succeeded: the pins for %(project)s are in %(ref)s of %(folder)s on"
        " %(host)s."
    )
    return Message(text, **words, folder=folder, host=socket.gethostname())


def _commit(mirror: Mirror, amendment: Amendment, ref: str) -> Path:
    mirror.amend(*amendment, ref)
    return mirror.folder


def _with_mirror(stage: UpgradeStage, act: Callable[[Mirror], T]) -> T:
    """Act on the project's mirror as it is; only if a commit is missing, fetch and try again."""
    mirror = mirror_of(stage.environment.project)
    try:
        return act(mirror)
    except CodeError:
        mirror.update()
        return act(mirror)


def _amendment(stage: UpgradeStage) -> Amendment:
    environment = stage.environment
    if environment.pins_from != Environment.PinsFrom.COMMIT:
        raise CodeError(
            _("%(site)s lists its pins itself: its repository has none to change."),
            site=environment,
        )
    release = stage.release_before or (stage.deployment and stage.deployment.release)
    if not release:
        raise CodeError(
            _("The release that served %(site)s was deleted: its commit is unknown."),
            site=environment,
        )
    file = environment.project.requirements_file
    return release.commit, file, partial(_with_new_pins, stage, file), _message(stage)


def _with_new_pins(stage: UpgradeStage, file: str, text: str) -> str:
    """Return the file with the pins that moved. Raises PinError if it would not pin all of them."""
    refuse_unpatchable(text, file)
    wanted = read_pins(stage.lock_after.text)
    changed = patch_pins(text, wanted)
    if left := compare_pins(read_pins(changed, file), wanted):
        names = few([change.name for change in left])
        raise PinError(_("%(file)s can't be changed to pin %(names)s."), file=file, names=names)
    return changed


def _message(stage: UpgradeStage) -> str:
    """Return a commit message, in English whatever the site's language."""
    moves = [f"{each['name']} to {each['after']}" for each in stage.moved if each["after"]]
    subject = f"Upgrade {moves[0]}" if len(moves) == 1 else f"Upgrade {len(moves)} packages"
    lines = []
    for move in stage.moved:
        fixes = f"; fixes {', '.join(move['fixes'])}" if move.get("fixes") else ""
        versions = f"{move['before'] or '-'} -> {move['after'] or '-'}"
        lines.append(f"- {move['name']} {versions}: {move['why']}{fixes}")
    release = stage.release_before
    if release and release.repository_lock:
        # Also what earlier upgrades moved: the commit brings those pins to the repository, too.
        listed, after = pins_in(release.repository_lock.text), read_pins(stage.lock_after.text)
        moved = {move["name"] for move in stage.moved}
        lines += [
            f"- {one.name} {one.before or '-'} -> {one.after or '-'}: moved by an earlier upgrade"
            for one in compare_pins(listed, after)
            if one.name not in moved
        ]
    where = f"Upgrade #{stage.upgrade_id} of {stage.environment}."
    body = "\n".join(map(_one_line, lines))
    return f"{_one_line(subject)}\n\n{body}\n\n{_one_line(where)}\n"


def _one_line(text: str) -> str:
    # Rows may hold anything, and `git am` applies a patch that it finds in a message.
    return " ".join(plain(mask_text(text)).split())
