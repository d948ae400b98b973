"""What other tools write: pyproject.toml, pylock.toml, uv.lock."""

import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pytest

from deploy_manager.exceptions import PinError
from deploy_manager.requirements.any_file import read_asking
from deploy_manager.requirements.pinning import pin_asking
from deploy_manager.requirements.reading import read_pins_of
from deploy_manager.requirements.uv import run_uv
from tests.parts.index import Index

PROJECT = """\
[project]
name = "shop"
version = "1"
requires-python = ">=3.9"
dependencies = ["shopkit>=1 ; python_version >= '3.9'", "Other_Kit==2"]
[project.optional-dependencies]
fast = ["fastlib==3"]
all = ["shop[fast]", "a @ https://me:s3cret@host.test/a.zip"]
[dependency-groups]
test = ["pytest==8", {include-group = "lint"}]
lint = ["ruff==1"]
"""
LOCK = """\
lock-version = "1.0"
created-by = "people"
[[packages]]
name = "a"
version = "1.0"
marker = "os_name == 'posix'"
dependencies = [{name = "b"}]
[[packages.wheels]]
url = "https://host.test/a-1.0-py3-none-any.whl"
hashes = {sha256 = "HASH", md5 = "0"}
[[packages]]
name = "b"
sdist = {url = "https://host.test/b-2.tar.gz", hashes = {sha256 = "HASH"}}
""".replace("HASH", "a" * 64)


def files(**texts: str) -> Mapping[str, bytes]:
    return {f"{name}.toml": text.encode() for name, text in texts.items()}


def names(project: str, extras: Sequence[str] = (), groups: Sequence[str] = ()) -> list[str]:
    held = files(pyproject=project)
    asking = read_asking("pyproject.toml", held.get, extras=extras, groups=groups)
    assert not asking.problems
    return [one.name for one in asking.requirements]


def test_a_project_asks_for_its_dependencies_and_for_what_is_chosen() -> None:
    assert names(PROJECT) == ["shopkit", "other-kit"]
    assert names(PROJECT, extras=["fast"]) == ["shopkit", "other-kit", "fastlib"]
    assert names(PROJECT, extras=["all"]) == ["shopkit", "other-kit", "a", "fastlib"]
    assert names(PROJECT, groups=["test"]) == ["shopkit", "other-kit", "pytest", "ruff"]


@pytest.mark.parametrize(
    ("text", "chosen", "reason"),
    [
        ("[tool.poetry]\n", {}, "pyproject.toml: it has no table [project]"),
        ("[project\n", {}, "pyproject.toml: it is not valid TOML"),
        ('[project]\ndynamic = ["dependencies"]\n', {}, "computed by its build"),
        ('[project]\ndependencies = [\n"a==1",\n"b==="]', {}, "pyproject.toml, line 4: b=== is no"),
        ("[project]\ndependencies = 1", {}, "not a list of texts"),
        ("[project]\ndependencies = [1]", {}, "1 is not a valid requirement"),
        (PROJECT, {"extras": ["slow"]}, "it has no extra slow: it has fast, all"),
        (PROJECT, {"groups": ["none"]}, "group none: "),
        (
            '[project]\n[dependency-groups]\na = [{include-group = "a"}]',
            {"groups": ["a"]},
            "group a",
        ),
    ],
)
def test_what_is_wrong_in_a_project_is_reported(
    text: str, chosen: dict[str, Any], reason: str
) -> None:
    asking = read_asking("pyproject.toml", files(pyproject=text).get, **chosen)
    assert reason in str(asking.problems[0])


def test_a_pylock_s_packages_are_pins() -> None:
    a, b = read_pins_of("pylock.toml", files(pylock=LOCK).get)
    assert (a.requirement, a.hashes) == ('a==1.0 ; os_name == "posix"', ("sha256:" + "a" * 64,))
    assert (b.requirement, b.direct) == ("b==2", False)


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        (
            ('lock-version = "1.0"', 'lock-version = "2.0"'),
            "pylock.prod.toml: it is not a lock file",
        ),
        (
            ('sdist = {url = "https://host.test/b', 'archive = {path = "b'),
            "line 11: b is a path or a URL: it can't be pinned",
        ),
        (("os_name == 'posix'", "'x' in extras"), "line 3: a belongs only to an extra or a group"),
        (("a-1.0-py3", "a-9.0-py3"), "it is not a lock file"),
    ],
)
def test_what_is_no_pin_in_a_pylock_is_reported(change: tuple[str, str], reason: str) -> None:
    held = {"pylock.prod.toml": LOCK.replace(*change).encode()}
    with pytest.raises(PinError) as error:
        read_pins_of("pylock.prod.toml", held.get)
    assert reason in str(error.value)


def test_a_uv_lock_is_read_by_uv_s_own_export(tmp_path: Path, package_index: Index) -> None:
    package_index.add("shopkit", "1.0", requires=("shopcore",))
    for name in ("shopcore", "other-kit", "fastlib", "pytest", "ruff"):
        for version in ("1", "2", "3", "8"):
            package_index.add(name, version)
    text = PROJECT.replace(', "a @ https://me:s3cret@host.test/a.zip"', "")
    (tmp_path / "pyproject.toml").write_text(text)
    assert not run_uv(["lock", f"--project={tmp_path}"], package_index.url)
    held = {f"app/{path.name}": path.read_bytes() for path in tmp_path.iterdir() if path.is_file()}
    pins = read_pins_of("app/uv.lock", held.get)
    assert [(pin.name, pin.direct) for pin in pins] == [
        ("other-kit", True),
        ("shopcore", False),
        ("shopkit", True),
    ]
    assert all(pin.hashes for pin in pins)
    del held["app/pyproject.toml"]
    with pytest.raises(PinError, match=r"together with the pyproject\.toml beside it"):
        read_pins_of("app/uv.lock", held.get)


MEMBER = """\
[project]
name = "{name}"
version = "1"
requires-python = ">=3.9"
dependencies = [{needs}]
[tool.uv.sources]
shared = {{workspace = true}}
"""
WORKSPACE = """
[tool.uv.workspace]
members = ["apps/*", "libs/*"]
"""


@pytest.fixture
def workspace(tmp_path: Path, package_index: Index) -> Mapping[str, bytes]:
    """The files of a repository that locks four members together, `web` and `api` among them."""
    package_index.add("shopkit", "1.0", requires=("shopcore",))
    for name in ("shopcore", "other-kit", "fastlib"):
        package_index.add(name, "1.0")
    texts = {
        ".": MEMBER.format(name="root", needs='"fastlib==1.0"') + WORKSPACE,
        "apps/web": MEMBER.format(name="web", needs='"shopkit==1.0"'),
        "apps/api": MEMBER.format(name="api", needs='"other-kit==1.0", "shared"'),
        "libs/shared": MEMBER.format(name="shared", needs='"fastlib==1.0"'),
    }
    for folder, text in texts.items():
        (tmp_path / folder).mkdir(parents=True, exist_ok=True)
        (tmp_path / folder / "pyproject.toml").write_text(text)
    assert not run_uv(["lock", f"--project={tmp_path}"], package_index.url)
    found = (path for path in tmp_path.rglob("*") if path.suffix in (".toml", ".lock"))
    return {str(path.relative_to(tmp_path)): path.read_bytes() for path in found}


def test_of_a_workspace_s_lock_the_member_counts_that_the_site_is_in(
    workspace: Mapping[str, bytes],
) -> None:
    def pinned(folder: str, held: Mapping[str, bytes] = workspace, path: str = "uv.lock") -> object:
        return [(pin.name, pin.direct) for pin in read_pins_of(path, held.get, folder)]

    web = [("shopcore", False), ("shopkit", True)]
    assert pinned("apps/web") == pinned("apps/web/src/site") == web
    assert pinned("") == pinned("elsewhere") == [("fastlib", True)]
    below = {f"python/{path}": content for path, content in workspace.items()}
    assert pinned("python/apps/web", below, "python/uv.lock") == web


def test_a_site_that_needs_another_member_is_reported_that_it_is_no_package_of_an_index(
    workspace: Mapping[str, bytes],
) -> None:
    asking = read_asking("uv.lock", workspace.get, folder="apps/api")
    assert [one.name for one in asking.requirements] == ["fastlib", "other-kit"]
    (problem,) = asking.problems
    assert "shared is a member of the workspace, in libs/shared" in str(problem)


def test_a_workspace_without_a_project_at_its_top_names_its_members(
    workspace: Mapping[str, bytes],
) -> None:
    lock = workspace["uv.lock"].decode()
    without_root = re.sub(r'(?s)\[\[package\]\]\nname = "root".*?(?=\[\[package|\Z)', "", lock)
    held = {**workspace, "uv.lock": without_root.replace('    "root",\n', "").encode()}
    held["pyproject.toml"] = WORKSPACE.encode()
    assert [pin.name for pin in read_pins_of("uv.lock", held.get, "apps/web")][1:] == ["shopkit"]
    with pytest.raises(PinError, match=r"set the project's folder to one of apps/api \(api\), "):
        read_pins_of("uv.lock", held.get, "")


@pytest.mark.parametrize(
    ("old", "new", "reason"),
    [
        ('editable = "apps/web"', 'editable = "../web"', "is outside of its folder"),
        ('editable = "apps/web"', 'editable = "/etc"', "is outside of its folder"),
        ('editable = "apps/web"', 'registry = "x"', "it is not a lock file"),
        ("members = [", "members = 3 #", "it is not a lock file"),
        ('editable = "apps/web"', 'editable = "apps/gone"', "apps/gone has no apps/gone/pyproject"),
    ],
)
def test_a_workspace_s_lock_that_says_nonsense_is_reported(
    workspace: Mapping[str, bytes], old: str, new: str, reason: str
) -> None:
    lock = workspace["uv.lock"].decode().replace('virtual = "apps/web"', 'editable = "apps/web"')
    held = {**workspace, "uv.lock": lock.replace(old, new).encode()}
    (problem,) = read_asking("uv.lock", held.get, folder="apps/api").problems
    assert reason in str(problem)


@pytest.mark.parametrize("name", ["uv.lock", "pylock.toml", "pyproject.toml"])
@pytest.mark.parametrize("content", [b"", b"\xff\xfe", b"nonsense", b"version = 99\n"])
def test_a_broken_file_is_reported_without_a_traceback(name: str, content: bytes) -> None:
    held = {"pyproject.toml": PROJECT.encode(), name: content}
    assert pin_asking(read_asking(name, held.get)).problems
    assert read_asking(name, lambda path: None).problems


@pytest.mark.parametrize(("name", "text"), [("pyproject.toml", PROJECT), ("pylock.toml", LOCK)])
def test_a_file_with_other_values_than_it_should_have_is_reported_without_a_traceback(
    name: str, text: str
) -> None:
    others = (
        "1",
        "[]",
        "{}",
        '""',
        "[1]",
        "[[]]",
        "true",
        '["x"]',
        "[{}]",
        "2020-01-01",
        "{a = 1}",
    )
    for found in re.finditer(r"= ?(.*)$", text, re.MULTILINE):
        for value in (*others, "[" * 10_000):
            changed = text[: found.start(1)] + value + text[found.end(1) :]
            asking = read_asking(
                name, {name: changed.encode()}.get, extras=["all"], groups=["test"]
            )
            pin_asking(asking)
