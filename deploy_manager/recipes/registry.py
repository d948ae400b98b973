"""The registry of recipes and pipelines."""

import re
from collections.abc import Callable, Collection, Iterable, Iterator
from contextlib import suppress
from dataclasses import dataclass, replace
from enum import Enum
from importlib import import_module

from django.apps import apps
from django.utils.module_loading import module_has_submodule
from django.utils.translation import gettext_noop as _

from deploy_manager.exceptions import RequestRefused, UnknownRecipe
from deploy_manager.messages import Message
from deploy_manager.recipes.host import Host, Site

RecipeFunction = Callable[[Host, Site], None]


class Uses(Enum):
    """Which release a recipe works on when it is run on its own."""

    NEW = "new"
    """It creates one, from the newest commit."""

    NEWEST = "newest"
    """The newest one, active or not."""

    CURRENT = "current"
    """The one that is serving."""

    GIVEN = "given"
    """An existing one, named by the request."""


class Scope(Enum):
    """The servers that a recipe runs on."""

    EACH_HOST = "each host"
    ONCE = "once"
    """On the first server of the environment that has one of its roles."""

    ONCE_PER_ROLE = "once per role"
    """On the first server of each of its roles."""


@dataclass(frozen=True)
class Recipe:
    """One thing that can be run on a server."""

    name: str
    title: str
    function: RecipeFunction
    roles: frozenset[str] = frozenset()
    """Only servers with one of these roles; empty: every server."""

    scope: Scope = Scope.EACH_HOST
    uses: Uses = Uses.CURRENT
    option: str = ""
    """The environment's field that has to be set for it to be part of a pipeline."""

    phase: str = ""
    """The phase that it takes part in, of every pipeline that has it; blank: of none."""

    after: str = ""
    """The recipe of that phase that it follows."""

    before: str = ""
    """The recipe of that phase that it precedes; neither: it comes at the end of the phase."""

    on_machine: bool = False
    """Whether it works on the machine: it runs on servers that get no release, too."""

    leads_to: str = ""
    """What is offered next on its page once it has succeeded: what it was the preview of."""
    as_bootstrap: bool = False
    """Whether the server's bootstrap user runs it: before the account and the deploy path exist."""

    only_looks: bool = False
    """Whether it changes nothing, and leaves nothing there: on its own it runs without a guard."""

    def applies_to(self, roles: Iterable[str]) -> bool:
        return not self.roles or not self.roles.isdisjoint(roles)


@dataclass(frozen=True)
class Phase:
    """Recipes that all hosts finish before any host begins the next phase."""

    name: str
    title: str
    recipes: tuple[str, ...]
    gate: bool = False
    """Whether too many failures stop the deployment here, before the next phase."""

    in_waves: bool = False
    """Whether it runs in waves, with adjacent phases: it changes or verifies what serves."""

    def without(self, options: Collection[str]) -> "Phase":
        """Return it without the recipes of these options."""
        kept = tuple(name for name in self.recipes if get_recipe(name).option not in options)
        return replace(self, recipes=kept)


@dataclass(frozen=True)
class Pipeline:
    """Recipes in phases; a single recipe is a pipeline of one phase."""

    name: str
    title: str
    phases: tuple[Phase, ...]
    given: bool = False
    """Whether the request names the release, even if a recipe could create a new one."""

    joined: frozenset[str] = frozenset()
    """Those of its recipes that take part because they name one of its phases."""

    @property
    def recipes(self) -> tuple[Recipe, ...]:
        """All recipes in the order of the phases."""
        return tuple(get_recipe(name) for phase in self.phases for name in phase.recipes)

    def without(self, options: Collection[str]) -> "Pipeline":
        """Return it without the recipes of these options; a recipe that runs on its own stays.

        Raises RequestRefused if none is left.
        """
        if len(self.recipes) == 1:
            return self
        left = replace(self, phases=tuple(phase.without(options) for phase in self.phases))
        if not left.recipes:
            raise RequestRefused(
                _(
                    "Nothing of %(pipeline)s is switched on: set one of these options of the"
                    " environment: %(options)s."
                ),
                pipeline=self.name,
                options=", ".join(sorted(options)),
            )
        return left

    @property
    def uses(self) -> Uses:
        """The first of GIVEN, NEW, NEWEST and CURRENT that any of its recipes uses.

        Recipes that only take part decide nothing: they work on what the others work on.
        """
        if self.given:
            return Uses.GIVEN
        found = {recipe.uses for recipe in self.recipes if recipe.name not in self.joined}
        return next(
            uses for uses in (Uses.GIVEN, Uses.NEW, Uses.NEWEST, Uses.CURRENT) if uses in found
        )


RESERVED_PHASE = "roll_back"
"""The phase that brings a failed server back automatically; `models.ROLLBACK_PHASE`."""

_NAME = re.compile(r"[a-z][a-z0-9_]{0,49}")
_recipes: dict[str, Recipe] = {}
_pipelines: dict[str, Pipeline] = {}
_broken: dict[str, str] = {}
_is_loaded = False


def recipe(
    title: str = "",
    *,
    roles: Iterable[str] = (),
    scope: Scope = Scope.EACH_HOST,
    uses: Uses = Uses.CURRENT,
    option: str = "",
    name: str = "",
    phase: str = "",
    after: str = "",
    before: str = "",
    on_machine: bool = False,
    leads_to: str = "",
    as_bootstrap: bool = False,
    only_looks: bool = False,
) -> Callable[[RecipeFunction], RecipeFunction]:
    """Register a function `(host, site)` as a recipe.

    It is then available in the admin's actions, in `manage.py recipe` and in `fab`. With a `phase`
    it also takes part in pipelines: see `complete_pipeline`. One that runs `as_bootstrap` runs on
    its own. One that `only_looks` changes nothing, and may be run twice: unless others beside it
    change something, it needs no guard and leaves nothing there.
    Raises ValueError for a name that is taken or not usable on a command line, and for a place in
    pipelines that does not exist.
    """

    def register(function: RecipeFunction) -> RecipeFunction:
        entry = Recipe(
            name=name or function.__name__,
            title=title or function.__name__.replace("_", " ").capitalize(),
            function=function,
            roles=frozenset(roles),
            scope=scope,
            uses=uses,
            option=option,
            phase=phase,
            after=after,
            before=before,
            on_machine=on_machine,
            leads_to=leads_to,
            as_bootstrap=as_bootstrap,
            only_looks=only_looks,
        )
        _add(entry)
        return function

    return register


def _add(entry: Recipe) -> None:
    if not _NAME.fullmatch(entry.name):
        raise ValueError(
            Message(
                _("%(name)s is not a valid name of a recipe: write it like clear_cache."),
                name=repr(entry.name),
            )
        )
    if why := _why_no_place(entry):
        raise ValueError(why)
    known = _recipes.get(entry.name)
    if entry.name in _pipelines or (known and _origin(known) != _origin(entry)):
        raise ValueError(
            Message(
                _("A recipe %(name)s already exists: give yours another name."),
                name=repr(entry.name),
            )
        )
    _recipes[entry.name] = entry


def _origin(entry: Recipe) -> tuple[str, str]:
    return entry.function.__module__, entry.function.__qualname__


def _why_no_place(entry: Recipe) -> Message:
    """Return why a recipe can't take part in pipelines as it says; blank: it can."""
    anchor = entry.after or entry.before
    if not entry.phase and not anchor:
        return Message()
    if entry.as_bootstrap:
        return Message(
            _(
                "The recipe %(name)s is run by the bootstrap user, so it can't take part in"
                " pipelines, which the account that deploys runs."
            ),
            name=repr(entry.name),
        )
    if not entry.phase:
        text = _("The recipe %(name)s names a recipe to stand beside, but no phase: add phase=….")
    elif entry.after and entry.before:
        text = _("The recipe %(name)s can stand after one recipe or before one, not both.")
    elif entry.uses in (Uses.NEW, Uses.GIVEN):
        text = _(
            "The recipe %(name)s takes part in pipelines, so it works on their release: it can use"
            " the newest or the current one when it is run on its own."
        )
    else:
        return _why_not_there(entry, anchor)
    return Message(text, name=repr(entry.name))


def _why_not_there(entry: Recipe, anchor: str) -> Message:
    phases: dict[str, list[str]] = {}
    for pipeline in map(complete_pipeline, _pipelines.values()):
        for phase in pipeline.phases:
            if _may_be_joined(pipeline, phase):
                phases.setdefault(phase.name, []).extend(phase.recipes)
    if entry.phase not in phases:
        text = _("The recipe %(name)s names the phase %(given)s, which no pipeline has: %(known)s.")
        given, known = entry.phase, sorted(phases)
    elif anchor and anchor not in phases[entry.phase]:
        text = _(
            "The recipe %(name)s is to stand beside %(given)s, which is not in the phase %(phase)s:"
            " %(known)s."
        )
        given, known = anchor, list(dict.fromkeys(phases[entry.phase]))
    else:
        return Message()
    return Message(
        text,
        name=repr(entry.name),
        given=repr(given),
        phase=entry.phase,
        known=", ".join(known),
    )


def add_pipeline(pipeline: Pipeline) -> None:
    """Register a pipeline under its name.

    Raises ValueError for one without any recipe, and for a name that is taken or not usable on a
    command line: a built-in pipeline can't be replaced, as others have been built on it.
    """
    if not _NAME.fullmatch(pipeline.name):
        raise ValueError(
            Message(
                _("%(name)s is not a valid name of a pipeline: write it like deploy_and_warm."),
                name=repr(pipeline.name),
            )
        )
    # The same once more is no harm: a module may be imported again.
    if pipeline.name in _recipes or _pipelines.get(pipeline.name, pipeline) != pipeline:
        raise ValueError(
            Message(
                _(
                    "A pipeline or recipe %(name)s already exists: give yours another name. To add"
                    " a recipe to it, name the phase: @recipe(phase=…)."
                ),
                name=repr(pipeline.name),
            )
        )
    if not any(phase.recipes for phase in pipeline.phases):
        raise ValueError(
            Message(
                _("The pipeline %(name)s has no recipes: name some in its phases."),
                name=repr(pipeline.name),
            )
        )
    _refuse_phases(pipeline)
    for name in (name for phase in pipeline.phases for name in phase.recipes):
        if name in _recipes and _recipes[name].as_bootstrap:
            raise ValueError(
                Message(
                    _(
                        "The recipe %(name)s is run by the bootstrap user, so it can't take part"
                        " in pipelines, which the account that deploys runs."
                    ),
                    name=repr(name),
                )
            )
    _pipelines[pipeline.name] = pipeline


def _refuse_phases(pipeline: Pipeline) -> None:
    names = [phase.name for phase in pipeline.phases]
    for name in names:
        if name == RESERVED_PHASE:
            # Taken for the rollback, its steps would be skipped whenever nothing went wrong.
            text = _("A phase can't have the name %(name)s, which the automatic rollback has.")
        elif names.count(name) > 1:
            text = _("The pipeline %(pipeline)s has two phases %(name)s: rename one.")
        elif not _NAME.fullmatch(name):
            text = _("%(name)s is not a valid name of a phase: write it like warm_up.")
        else:
            continue
        raise ValueError(Message(text, name=repr(name), pipeline=repr(pipeline.name)))


def complete_pipeline(pipeline: Pipeline) -> Pipeline:
    """Return a pipeline with the recipes that name one of its phases, each in its place.

    Those take part in every phase of that name if the pipeline makes a release. If it does not, as
    a rollback, they take part only where it changes or verifies what serves: the release was
    prepared long ago.
    """
    named = {name for phase in pipeline.phases for name in phase.recipes}
    phases: list[Phase] = []
    joined: set[str] = set(pipeline.joined)
    # As a list: another thread may be loading more of them.
    joining = [each for each in list(_recipes.values()) if each.phase and each.name not in named]
    for phase in pipeline.phases:
        recipes = list(phase.recipes)
        for entry in joining:
            if entry.phase == phase.name and _may_be_joined(pipeline, phase):
                recipes.insert(_place_of(entry, recipes), entry.name)
                joined.add(entry.name)
        phases.append(replace(phase, recipes=tuple(recipes)))
    return replace(pipeline, phases=tuple(phases), joined=frozenset(joined))


def _may_be_joined(pipeline: Pipeline, phase: Phase) -> bool:
    names = (name for each in pipeline.phases for name in each.recipes)
    # Not get_recipe: a pipeline may be registered before the last of its recipes.
    makes_release = any(name in _recipes and _recipes[name].uses is Uses.NEW for name in names)
    return makes_release or phase.in_waves


def _place_of(entry: Recipe, recipes: list[str]) -> int:
    """Return the index for a recipe; a phase that lacks the other recipe has it at its end."""
    if entry.before in recipes:
        return recipes.index(entry.before)
    if entry.after not in recipes:
        return len(recipes)
    place = recipes.index(entry.after) + 1
    # Of several that follow the same one, the first that was registered stays the first.
    for name in recipes[place:]:
        if name not in _recipes or _recipes[name].after != entry.after:
            break
        place += 1
    return place


def load_recipes() -> None:
    """Import the `recipes` module of every installed app.

    One that can't be imported does not stop the others: see `broken_modules`.
    """
    for app in apps.get_app_configs():
        if not module_has_submodule(app.module, "recipes"):
            continue
        name = f"{app.name}.recipes"
        try:
            import_module(name)
        except (Exception, SystemExit) as error:
            # A project's module may raise anything, and code for the command line SystemExit; a
            # system check reports it.
            _broken[name] = f"{type(error).__name__}: {error}"


def _load_once() -> None:
    """Load the recipes when the first is asked for: most commands of a project ask for none.

    Without a lock: a module that asks while it is imported would wait for a thread that waits for
    that very import. Who comes meanwhile loads them as well, and waits for imports as they do.
    """
    global _is_loaded
    # Before apps are ready their modules can't be imported; whoever asks later loads them.
    if not _is_loaded and apps.ready:
        load_recipes()
        _is_loaded = True


def broken_modules() -> dict[str, str]:
    """Return the recipe modules that could not be imported, with their errors."""
    _load_once()
    return dict(_broken)


def get_recipe(name: str) -> Recipe:
    """Return a recipe by its name; raises UnknownRecipe."""
    _load_once()
    try:
        return _recipes[name]
    except KeyError:
        raise UnknownRecipe(
            _("There is no recipe %(name)s. Known: %(recipes)s."),
            name=repr(name),
            recipes=", ".join(sorted(_recipes)),
        ) from None


def is_ours(name: str) -> bool:
    """Whether a recipe is one of this app, not of a project."""
    with suppress(UnknownRecipe):
        return get_recipe(name).function.__module__.startswith("deploy_manager.")
    return False


def get_pipeline(name: str) -> Pipeline:
    """Return a pipeline with all that takes part in it, or a recipe as a pipeline of one phase.

    Raises UnknownRecipe.
    """
    _load_once()
    if name in _pipelines:
        return complete_pipeline(_pipelines[name])
    entry = get_recipe(name)
    return Pipeline(entry.name, entry.title, (Phase("run", _("Run"), (entry.name,)),))


def all_pipelines() -> Iterator[Pipeline]:
    """Yield everything that a request may name: pipelines first, then single recipes."""
    _load_once()
    # As lists: another thread may be loading more of them.
    yield from map(complete_pipeline, list(_pipelines.values()))
    yield from [get_pipeline(name) for name in list(_recipes)]
