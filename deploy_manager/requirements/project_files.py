"""Read a `pyproject.toml`: its dependencies, chosen extras and dependency groups."""

import tomllib
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from packaging.dependency_groups import resolve_dependency_groups
from packaging.requirements import InvalidRequirement, Requirement
from packaging.utils import canonicalize_name

from deploy_manager.requirements.asked import Address, Asked, Asking, Problem, shown
from deploy_manager.requirements.line_kinds import Files


def read_project(
    path: str, files: Files, extras: Collection[str] = (), groups: Collection[str] = ()
) -> Asking:
    """Read `[project] dependencies`, and the named extras and dependency groups."""
    data = files(path)
    if data is None:
        return Asking(problems=(Problem(path, 0, "there is no such file"),))
    try:
        text = data.decode()
        content = tomllib.loads(text)
    except (ValueError, RecursionError) as error:
        return Asking(problems=(Problem(path, 0, f"it is not valid TOML: {shown(str(error))}"),))
    reader = _Reader(path, text)
    reader.read(content, extras, groups)
    return Asking(tuple(reader.asked), problems=tuple(reader.problems), files=(path,))


@dataclass
class _Reader:
    path: str
    text: str
    asked: list[Asked] = field(default_factory=list)
    problems: list[Problem] = field(default_factory=list)

    def read(
        self, content: Mapping[str, Any], extras: Collection[str], groups: Collection[str]
    ) -> None:
        project = content.get("project")
        if not isinstance(project, dict):
            self._refuse("it has no table [project]: export the lock of its tool")
            return
        if "dependencies" in (project.get("dynamic") or ()):
            self._refuse("its dependencies are computed by its build: use their file instead")
        self._take_all(project.get("dependencies", []))
        self._take_extras(project, {canonicalize_name(extra) for extra in extras}, set())
        for group in groups:
            self._take_group(content.get("dependency-groups") or {}, group)

    def _take_extras(self, project: Mapping[str, Any], wanted: set[str], seen: set[str]) -> None:
        # An extra may include others of the same project: name[docs,tests].
        offered = project.get("optional-dependencies") or {}
        listed = {str(canonicalize_name(str(name))): these for name, these in offered.items()}
        for extra in sorted(wanted - seen):
            if extra not in listed:
                self._refuse(
                    f"it has no extra {shown(extra)}: it has {', '.join(listed) or 'none'}"
                )
                continue
            before = len(self.asked)
            self._take_all(listed[extra])
            own = canonicalize_name(str(project.get("name", "")))
            more = {each for one in self.asked[before:] if one.name == own for each in one.extras}
            self.asked[before:] = [one for one in self.asked[before:] if one.name != own]
            self._take_extras(project, more, seen | wanted)

    def _take_group(self, groups: Mapping[str, Any], name: str) -> None:
        try:
            self._take_all(resolve_dependency_groups(groups, name))
        except (ValueError, TypeError, LookupError, ExceptionGroup) as error:
            causes = error.exceptions if isinstance(error, ExceptionGroup) else [error]
            self._refuse(f"group {shown(name)}: {shown('; '.join(map(str, causes)), 200)}")

    def _take_all(self, listed: Sequence[object]) -> None:
        if not isinstance(listed, (list, tuple)):
            self._refuse("its dependencies are not a list of texts")
            return
        for one in listed:
            self._take(one)

    def _take(self, one: object) -> None:
        # tomllib gives no positions: the first place with the same text is shown.
        at = self.text.find(str(one))
        line = self.text.count("\n", 0, at) + 1 if str(one) and at >= 0 else 0
        try:
            found = Requirement(one if isinstance(one, str) else "")
            asked = Asked(
                canonicalize_name(found.name),
                found.specifier,
                tuple(sorted({canonicalize_name(extra) for extra in found.extras})),
                str(found.marker or ""),
                address=Address.of(found.url) if found.url else None,
                file=self.path,
                line=line,
                text=shown(str(one)),
            )
        except (InvalidRequirement, ValueError, RecursionError) as error:
            cause = shown(str(error).partition("\n")[0])
            reason = f"{shown(str(one))} is not a valid requirement: {cause}"
            self.problems.append(Problem(self.path, line, reason))
            return
        self.asked.append(asked)

    def _refuse(self, reason: str) -> None:
        self.problems.append(Problem(self.path, 0, reason))
