"""The columns of the matrix: a server each, side by side with the others of its environment."""

from collections.abc import Collection, Iterable
from dataclasses import dataclass, replace

from django.utils import timezone
from django.utils.functional import cached_property
from django.utils.timesince import timesince
from django.utils.translation import gettext as _

from deploy_manager.admin.addresses import run_url
from deploy_manager.admin.packages.cells import Matter
from deploy_manager.admin.packages.expected import Expected, make_expected
from deploy_manager.admin.packages.facts import PackageFacts, Place
from deploy_manager.admin.packages.filter import Asked
from deploy_manager.models import Environment
from deploy_manager.models.deployments import CONVERGE, DEPLOY
from deploy_manager.models.serving import usual_release

_Usual = tuple[int | None, int]
"""The release that most servers of an environment serve, and how many do."""


@dataclass
class Column:
    """One server in one environment."""

    place: Place
    expected: Expected
    installed: dict[str, str]
    repair: str
    """The pipeline that makes it as it should be: converge, or deploy where no other is a model."""

    matter: Matter = Matter.NOTHING
    """What is wrong with the packages of it that are shown."""

    @property
    def has_drift(self) -> bool:
        return bool(self.matter & Matter.DRIFT)

    @property
    def seen(self) -> str:
        """How long ago its packages were seen."""
        seen_at = self.place.seen_at
        if seen_at is None:
            return _("never seen")
        return _("seen %(age)s ago") % {"age": timesince(seen_at, depth=1)}

    @property
    def asked(self) -> str:
        """What becomes of a question that is not answered yet; blank where there is none."""
        if not self.place.is_asked:
            return ""
        tried_at = self.place.tried_at
        if tried_at is None:
            return _("is to be asked")
        return _("asked %(age)s ago, no answer yet") % {"age": timesince(tried_at, depth=1)}

    @property
    def told(self) -> str:
        """When its packages were seen, and by which Python."""
        if self.place.seen_at is None:
            return ""
        moment = timezone.localtime(self.place.seen_at)
        return f"{moment:%Y-%m-%d %H:%M %Z} {self.place.implementation} {self.place.python}"

    @property
    def repair_url(self) -> str:
        """The page that shows what would repair it."""
        return run_url(self.repair, [self.place.environment], [self.place.server])


@dataclass(frozen=True)
class Group:
    """An environment and its servers that are shown."""

    environment: Environment
    columns: tuple[Column, ...]
    may_deploy: bool

    @cached_property
    def expectations(self) -> frozenset[Expected]:
        return frozenset(column.expected for column in self.columns)

    @property
    def rank(self) -> int:
        """That of its server with which the worst is wrong."""
        return min((column.matter.rank for column in self.columns), default=Matter.NOTHING.rank)

    def worst_first(self) -> tuple[int, ...]:
        """The places of its servers, those with which something is wrong before the others."""
        places = range(len(self.columns))
        return tuple(sorted(places, key=lambda place: self.columns[place].matter.rank))

    def in_order(self, places: Iterable[int]) -> "Group":
        """The same with its servers in another order."""
        return replace(self, columns=tuple(self.columns[place] for place in places))

    @property
    def width(self) -> int:
        """Columns, with those of what is pinned and what is latest."""
        return len(self.columns) + 2


def make_groups(
    facts: PackageFacts, asked: Asked, deployable: Collection[Environment]
) -> tuple[Group, ...]:
    """Return the environments and servers that are asked for."""
    columns = _ColumnMaker(facts, deployable)
    groups = []
    for environment in asked.environments:
        places = [place for place in facts.places if place.environment == environment.pk]
        usual = _usual_release(places)
        made = [columns.make(place, environment, usual) for place in places]
        shown = tuple(column for column in made if asked.has_versions(column.installed))
        if shown or not asked.package:
            groups.append(Group(environment, shown, environment in deployable))
    return tuple(groups)


def _usual_release(places: Iterable[Place]) -> _Usual:
    served = [(place.release, place.activated_at) for place in places]
    usual = usual_release(served)
    return usual, sum(1 for release, _since in served if release and release == usual)


class _ColumnMaker:
    """Makes columns; servers that are alike share what they are measured by."""

    def __init__(self, facts: PackageFacts, deployable: Collection[Environment]) -> None:
        self._facts = facts
        self._deployable = deployable
        self._expectations: dict[tuple[object, ...], Expected] = {}

    def make(self, place: Place, environment: Environment, usual: _Usual) -> Column:
        """Return a server's column."""
        alike = (environment.pk, place.is_known, *place[-3:])
        if alike not in self._expectations:
            may_upgrade = environment in self._deployable
            self._expectations[alike] = make_expected(place, environment, self._facts, may_upgrade)
        installed = self._facts.installed.get(place.pk, {})
        return Column(
            place, self._expectations[alike], installed, _repair(place, environment, usual)
        )


def _repair(place: Place, environment: Environment, usual: _Usual) -> str:
    """Pins that were changed by hand are nowhere yet, so that no server is a model for another."""
    release, count = usual
    if count and place.release != release:
        return CONVERGE
    is_deployed = environment.pins_from == Environment.PinsFrom.COMMIT
    return CONVERGE if is_deployed and count > 1 else DEPLOY
