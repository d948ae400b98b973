"""What a `pyproject.toml` asks for: its dependencies, chosen extras and dependency groups."""

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
    """Read `[project] dependencies`, and of `extras` and `groups` those that are named."""
    data = files(path)
    if data is None:
        return Asking(problems=(Problem(path, 0, "there is no such file"),))
    try:
        text = data.decode()
        content = tomllib.loads(text)
    except (ValueError, RecursionError) as error:
        return Asking(problems=(Problem(path, 0, f"it is no TOML: {shown(str(error))}"),))
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
            self._refuse("it has no table [project]: export what its tool has locked")
            return
        if "dependencies" in (project.get("dynamic") or ()):
            self._refuse("its dependencies are made up when it is built: name their file instead")
        self._take_all(project.get("dependencies", []))
        self._take_extras(project, {canonicalize_name(extra) for extra in extras}, set())
        for group in groups:
            self._take_group(content.get("dependency-groups") or {}, group)

    def _take_extras(self, project: Mapping[str, Any], wanted: set[str], seen: set[str]) -> None:
        """An extra may ask for other extras of the same project."""
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
            self._refuse("its dependencies are no list of texts")
            return
        for one in listed:
            self._take(one)

    def _take(self, one: object) -> None:
        line = self._line_of(str(one))
        try:
            found = Requirement(one if isinstance(one, str) else "")
            address = Address.of(found.url) if found.url else None
        except (InvalidRequirement, ValueError, RecursionError) as error:
            reason = str(error).partition("\n")[0]
            told = f"{shown(str(one))} is no requirement: {shown(reason)}"
            self.problems.append(Problem(self.path, line, told))
            return
        self.asked.append(
            Asked(
                canonicalize_name(found.name),
                found.specifier,
                tuple(sorted({canonicalize_name(extra) for extra in found.extras})),
                str(found.marker or ""),
                address=address,
                file=self.path,
                line=line,
                text=shown(str(one)),
            )
        )

    def _line_of(self, text: str) -> int:
        """Where a text stands; TOML's reader does not tell."""
        at = self.text.find(text)
        return self.text.count("\n", 0, at) + 1 if text and at >= 0 else 0

    def _refuse(self, reason: str) -> None:
        self.problems.append(Problem(self.path, 0, reason))
