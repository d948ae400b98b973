"""What a policy does when its time comes: an upgrade for each group, or a word on why not."""

import logging
from collections.abc import Callable, Iterable, Sequence
from datetime import timedelta
from zoneinfo import ZoneInfo

from django.db import transaction
from django.utils import timezone
from django.utils.translation import gettext as _
from django.utils.translation import ngettext

from deploy_manager.deployments.bad_releases import describe_mark, find_mark
from deploy_manager.exceptions import ClaimLost, DeployManagerError
from deploy_manager.isolation import explain
from deploy_manager.logs import mask_text
from deploy_manager.models import (
    Environment,
    PolicyRun,
    Release,
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
    PlannedStage,
    UpgradeOptions,
    UpgradePlan,
    plan_upgrade,
)
from deploy_manager.upgrades.requests import request_upgrade

logger = logging.getLogger(__name__)

SOURCE = "policy"

Beat = Callable[[PolicyRun], None]
"""Keeps the run; raises ClaimLost where another process has it now."""


def do_policy(run: PolicyRun, beat: Beat) -> str:
    """Write the upgrades that a policy asks for now; return what was done, a line for each thing.

    Raises ClaimLost where somebody else took the run over, PinError for requirements that can't be
    read, and InvalidRow for a policy that no form takes.
    """
    check_row(run.policy)
    environments, told = _environments(run.policy)
    if not environments:
        return _lines([_("Nothing to do: no release serves on its environments."), *told])
    if live := _no_room(run.policy):
        return _lines([_("Put off to the next time."), live, *told])
    zone = ZoneInfo(run.policy.time_zone)
    found = find_candidates(run.policy, environments, timezone.now().astimezone(zone).date())
    done = []
    for requests in found.groups:
        beat(run)
        done.append(_do_group_alone(run, environments, requests, found, beat))
    nothing = [] if any(done) else [_nothing(run.policy, found)]
    return _lines([*nothing, *done, *found.told, *told])


def _environments(policy: UpgradePolicy) -> tuple[list[Environment], list[str]]:
    """Return those on which a release serves, in their turn, and a word on the others."""
    turns = policy.turns.select_related("environment__project")
    all_ = [turn.environment for turn in turns]
    serving = [each for each in all_ if serving_release(each)]
    idle = [str(each) for each in all_ if each not in serving]
    return serving, [_("No release serves on %(sites)s yet.") % {"sites": few(idle)}] * bool(idle)


def _nothing(policy: UpgradePolicy, found: Candidates) -> str:
    count = found.considered
    if policy.how_far == policy.HowFar.SECURITY and not found.groups:
        text = ngettext(
            "Nothing to do: the %(count)d package that is known needs no fix there is.",
            "Nothing to do: the %(count)d packages that are known need no fix there is.",
            count,
        )
    else:
        text = ngettext(
            "Nothing to do: %(count)d package is as new as this policy lets it be.",
            "Nothing to do: %(count)d packages are as new as this policy lets them be.",
            count,
        )
    return text % {"count": count}


def _do_group_alone(
    run: PolicyRun,
    environments: Sequence[Environment],
    requests: tuple[PinRequest, ...],
    found: Candidates,
    beat: Beat,
) -> str:
    """Ask for one upgrade; a group that can't be planned keeps no other from being asked for."""
    try:
        return _do_group(run, environments, requests, found, beat)
    except ClaimLost:
        raise
    except Exception as error:
        logger.exception("%s could not do a group", run)
        return _("Not possible: %(names)s.\n%(problems)s") % {
            "names": few([each.name for each in requests]),
            "problems": mask_text(explain(error)),
        }


def _do_group(
    run: PolicyRun,
    environments: Sequence[Environment],
    requests: tuple[PinRequest, ...],
    found: Candidates,
    beat: Beat,
) -> str:
    """Ask for one upgrade; return what came of it, blank where nothing would move."""
    concerned = concerned_by(requests, environments)
    plan = plan_upgrade(concerned, _options(run, requests, found))
    names = few([each.name for each in requests])
    if plan.problems:
        return _("Not possible: %(names)s.\n%(problems)s") % {
            "names": names,
            "problems": "\n".join(plan.problems),
        }
    if plan.is_empty:
        return ""
    if why := _why_not(plan, found):
        return why
    beat(run)
    try:
        return _ask(run.policy, plan)
    except DeployManagerError as error:
        return _("Refused: %(moves)s. %(reason)s") % {"moves": moves_of(plan), "reason": error}


def _options(run: PolicyRun, requests: tuple[PinRequest, ...], found: Candidates) -> UpgradeOptions:
    policy = run.policy
    cooldown = timedelta(days=policy.cooldown)
    return UpgradeOptions(
        pins=requests,
        reason=_("Policy: %(policy)s") % {"policy": policy},
        soak=policy.soak * 60,
        on_failure=policy.on_failure,
        before=timezone.now() - cooldown if cooldown else None,
        exempt=found.exempt,
        policy_run=run,
    )


def _why_not(plan: UpgradePlan, found: Candidates) -> str:
    """Why a plan that could be done is left; blank: nothing speaks against it."""
    moving = {move["name"] for stage in plan.stages for move in stage.moves}
    if held := sorted(moving & found.ignored.keys()):
        return _("Left out: %(moves)s, for it would move %(name)s. %(reason)s") % {
            "moves": moves_of(plan),
            "name": held[0],
            "reason": found.ignored[held[0]],
        }
    if failed := _failed_before(plan.stages):
        return _(
            "%(moves)s: not tried again, since upgrade #%(number)d failed with the same and"
            " nothing has changed."
        ) % {"moves": moves_of(plan), "number": failed.pk}
    if mark := _mark_on(plan.stages):
        return _("Left out: %(moves)s. %(reason)s") % {
            "moves": moves_of(plan),
            "reason": describe_mark(mark),
        }
    return ""


def _mark_on(stages: Iterable[PlannedStage]) -> Release | None:
    """Return what is marked as bad with just the pins to come; the code serves already."""
    for stage in stages:
        commit = stage.release_before.commit
        mark = find_mark(stage.environment, commit, stage.digest)
        if mark and mark.lock.digest == stage.digest:
            return mark
    return None


def _failed_before(stages: Iterable[PlannedStage]) -> Upgrade | None:
    """Return an upgrade, whoever asked for it, that failed between the same locks somewhere."""
    broken = [UpgradeState.FAILED, UpgradeState.ROLLED_BACK]
    for stage in stages:
        tried = UpgradeStage.objects.filter(
            environment=stage.environment,
            lock_before=stage.release_before.lock,
            lock_after__digest=stage.digest,
            upgrade__state__in=broken,
        )
        if found := tried.select_related("upgrade").order_by("-upgrade__pk").first():
            return found.upgrade
    return None


def _ask(policy: UpgradePolicy, plan: UpgradePlan) -> str:
    """Write the upgrade unless the policy has as many as it may. Raises RequestRefused."""
    with transaction.atomic():
        # Two runs of one policy count one after the other.
        UpgradePolicy.objects.select_for_update().get(pk=policy.pk)
        if live := _no_room(policy):
            return _("Put off to the next time: %(moves)s. %(live)s") % {
                "moves": moves_of(plan),
                "live": live,
            }
        upgrade = request_upgrade(plan, source=SOURCE, requested_by_name=str(policy))
    return _("Upgrade #%(number)d: %(moves)s (%(sites)s).") % {
        "number": upgrade.pk,
        "moves": moves_of(plan),
        "sites": ", ".join(str(stage.environment) for stage in plan.stages),
    }


def _no_room(policy: UpgradePolicy) -> str:
    """Say which upgrades of the policy have not ended, where there may be no more at once."""
    live = Upgrade.objects.live().filter(policy_run__policy=policy).order_by("pk")
    numbers = [f"#{pk}" for pk in live.values_list("pk", flat=True)]
    if len(numbers) < policy.most_at_once:
        return ""
    return _("Not ended yet, of at most %(most)d at once: %(numbers)s.") % {
        "most": policy.most_at_once,
        "numbers": few(numbers),
    }


def moves_of(plan: UpgradePlan) -> str:
    """Return what would move, each once, like django 5.2.7 → 5.2.8."""
    moves = (move for stage in plan.stages for move in stage.moves)
    told = (f"{each['name']} {each['before'] or '-'} → {each['after'] or '-'}" for each in moves)
    return few(list(dict.fromkeys(told)))


def _lines(lines: Iterable[str]) -> str:
    return "\n".join(filter(None, lines))
