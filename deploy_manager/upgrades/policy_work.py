"""Carry out a run of a policy: request an upgrade for each group, or say why not."""

import logging
from collections.abc import Callable, Sequence
from datetime import timedelta
from zoneinfo import ZoneInfo

from django.db import transaction
from django.utils import timezone
from django.utils.translation import gettext
from django.utils.translation import gettext_noop as _

from deploy_manager.deployments.owners import see_to
from deploy_manager.exceptions import ClaimLost, DeployManagerError
from deploy_manager.isolation import explain
from deploy_manager.logs import log_error
from deploy_manager.messages import Message, ngettext
from deploy_manager.models import (
    Environment,
    PolicyRun,
    Upgrade,
    UpgradePolicy,
    UpgradeStage,
    UpgradeState,
)
from deploy_manager.models.serving import serving_release
from deploy_manager.requirements.reach import PinRequest
from deploy_manager.row_checks import check_row
from deploy_manager.upgrades.candidates import Candidates, concerned_by, few, find_candidates
from deploy_manager.upgrades.plan import (
    UpgradeOptions,
    UpgradePlan,
    describe_move,
    plan_upgrade,
)
from deploy_manager.upgrades.proofs import speaks_against_release
from deploy_manager.upgrades.requests import request_upgrade

logger = logging.getLogger(__name__)

SOURCE = "policy"

Beat = Callable[[PolicyRun], None]
"""Keeps the claim on the run; raises ClaimLost if another process has it now."""


def do_policy(run: PolicyRun, beat: Beat) -> Message:
    """Request the upgrades that a policy wants now; return the outcome, a line for each thing.

    Raises ClaimLost if another process took the run over, PinError for requirements that can't be
    read, InvalidRow for a policy that its form would refuse, and Paused.
    """
    check_row(run.policy)
    see_to(run.policy)
    turns = run.policy.turns.select_related("environment__project")
    turned = [turn.environment for turn in turns]
    environments = [each for each in turned if serving_release(each)]
    idle = [str(each) for each in turned if each not in environments]
    notes = [Message(_("No release serves on %(sites)s yet."), sites=few(idle))] if idle else []
    if not environments:
        return Message.lines(
            Message(_("Nothing to do: no release serves on its environments.")), *notes
        )
    if live := _no_room(run.policy):
        return Message.lines(Message(_("Postponed to the next run.")), live, *notes)
    # Dates in the policy's own time zone: at night it is another day in UTC.
    zone = ZoneInfo(run.policy.time_zone)
    found = find_candidates(run.policy, environments, timezone.now().astimezone(zone).date())
    done = []
    for requests in found.groups:
        beat(run)
        done.append(_do_group_alone(run, environments, requests, found, beat))
    nothing = [] if any(done) else [_nothing(run.policy, found)]
    return Message.lines(*nothing, *done, *found.report, *notes)


def _nothing(policy: UpgradePolicy, found: Candidates) -> Message:
    count = found.considered
    if policy.how_far == policy.HowFar.SECURITY and not found.groups:
        return ngettext(
            "Nothing to do: %(count)d package was checked, and there is no fix to install.",
            "Nothing to do: %(count)d packages were checked, and there is no fix to install.",
            count,
        )
    return ngettext(
        "Nothing to do: %(count)d package is as new as this policy allows.",
        "Nothing to do: %(count)d packages are as new as this policy allows.",
        count,
    )


def _do_group_alone(
    run: PolicyRun,
    environments: Sequence[Environment],
    requests: tuple[PinRequest, ...],
    found: Candidates,
    beat: Beat,
) -> Message:
    """Request one upgrade; any error becomes a line of the outcome."""
    try:
        return _do_group(run, environments, requests, found, beat)
    # No outcome: another process has the run.
    except ClaimLost:
        raise
    except Exception as error:
        # The border of a group: the others are requested all the same.
        log_error(logger, "%s could not do a group", run)
        return Message(
            _("Not possible: %(names)s.\n%(problems)s"),
            names=few([each.name for each in requests]),
            problems=explain(error),
        )


def _do_group(
    run: PolicyRun,
    environments: Sequence[Environment],
    requests: tuple[PinRequest, ...],
    found: Candidates,
    beat: Beat,
) -> Message:
    """Request one upgrade; return a line about it, blank if nothing would move."""
    policy, cooldown = run.policy, timedelta(days=run.policy.cooldown)
    options = UpgradeOptions(
        pins=requests,
        reason=gettext("Policy: %(policy)s") % {"policy": policy},
        # A policy has minutes, an upgrade seconds.
        soak=policy.soak * 60,
        on_failure=policy.on_failure,
        before=timezone.now() - cooldown if cooldown else None,
        exempt=found.exempt,
        policy_run=run,
    )
    concerned = concerned_by(requests, environments)
    whole = plan_upgrade(concerned, options)
    # Never those after it: what staging could not try must not reach production.
    plan = whole.before_problems(concerned)
    if whole.problems and (plan.problems or plan.is_empty):
        return Message(
            _("Not possible: %(names)s.\n%(problems)s"),
            names=few([each.name for each in requests]),
            problems=Message.lines(*whole.problems),
        )
    if plan.is_empty:
        return Message()
    if why := _why_not(plan, found):
        return why
    beat(run)
    try:
        return Message.lines(_request(policy, plan), *_left_out(whole, plan, concerned))
    except DeployManagerError as error:
        return Message(_("Refused: %(moves)s. %(reason)s"), moves=moves_of(plan), reason=error)


def _left_out(
    whole: UpgradePlan, plan: UpgradePlan, environments: Sequence[Environment]
) -> list[Message]:
    """Return a line on the environments that are left out as one of them can't be planned."""
    if not whole.failed:
        return []
    moving = {stage.environment for stage in whole.stages} | {*whole.failed}
    left = moving - {stage.environment for stage in plan.stages}
    return [
        Message(
            _("Not in %(sites)s, where it has to wait for this problem:\n%(problems)s"),
            sites=few([str(each) for each in environments if each in left]),
            problems=Message.lines(*whole.problems),
        )
    ]


def _why_not(plan: UpgradePlan, found: Candidates) -> Message:
    """Return why a policy must not request a plan; blank: it may."""
    moving = {move["name"] for stage in plan.stages for move in stage.moves}
    if ignored := sorted(moving & found.ignored.keys()):
        return Message(
            _("Left out: %(moves)s, as it would also move %(name)s. %(reason)s"),
            moves=moves_of(plan),
            name=ignored[0],
            reason=found.ignored[ignored[0]],
        )
    if plan.taken_back:
        return Message(
            _("Left out: %(moves)s, as that would take back %(names)s, which only a person may."),
            moves=moves_of(plan),
            names="; ".join(plan.taken_back),
        )
    for stage in plan.stages:
        # Also an upgrade that a person requested: the same pins would fail again.
        failed = UpgradeStage.objects.filter(
            environment=stage.environment,
            lock_before=stage.release_before.lock,
            lock_after__digest=stage.digest,
            state__in=[UpgradeState.FAILED, UpgradeState.ROLLED_BACK],
        ).select_related("deployment")
        tried = (
            each
            for each in failed.order_by("-upgrade__pk")
            if each.deployment and speaks_against_release(each.deployment)
        )
        if last := next(tried, None):
            return Message(
                _(
                    "%(moves)s: not tried again, as upgrade #%(number)d failed with the same pins"
                    " and nothing has changed since."
                ),
                moves=moves_of(plan),
                number=last.upgrade_id,
            )
    for stage in plan.stages:
        if stage.bad:
            return Message(
                _("Left out: %(moves)s. %(reason)s"), moves=moves_of(plan), reason=stage.bad
            )
    return Message()


def _request(policy: UpgradePolicy, plan: UpgradePlan) -> Message:
    """Write the upgrade, unless the policy has as many live ones as it may have."""
    with transaction.atomic():
        # The row lock makes two runs of one policy count one after the other. SQLite ignores it:
        # there the transaction does, which is IMMEDIATE.
        UpgradePolicy.objects.select_for_update().get(pk=policy.pk)
        if live := _no_room(policy):
            return Message(
                _("Postponed to the next run: %(moves)s. %(live)s"), moves=moves_of(plan), live=live
            )
        upgrade = request_upgrade(
            plan, source=SOURCE, requested_by_name=str(policy), user=policy.owner
        )
    return Message(
        _("Upgrade #%(number)d: %(moves)s (%(sites)s)."),
        number=upgrade.pk,
        moves=moves_of(plan),
        sites=", ".join(str(stage.environment) for stage in plan.stages),
    )


def _no_room(policy: UpgradePolicy) -> Message:
    """Return a line on the policy's live upgrades; blank if it may request another one."""
    live = Upgrade.objects.live().filter(policy_run__policy=policy).order_by("pk")
    numbers = [f"#{pk}" for pk in live.values_list("pk", flat=True)]
    if len(numbers) < policy.most_at_once:
        return Message()
    return Message(
        _("These have not ended yet, of at most %(most)d at once: %(numbers)s."),
        most=policy.most_at_once,
        numbers=few(numbers),
    )


def moves_of(plan: UpgradePlan) -> Message:
    """Return what would move, each move once, like django 5.2.7 → 5.2.8."""
    moves = (move for stage in plan.stages for move in stage.moves)
    return few(list(dict.fromkeys(map(describe_move, moves))))
