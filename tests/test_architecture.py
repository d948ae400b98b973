"""The house stays as docs/architecture.md draws it."""

import ast
import functools
import re
import subprocess
import sys
import tarfile
import tomllib
import zipfile
from collections.abc import Iterator
from itertools import permutations
from pathlib import Path

import pytest

TOP = Path(__file__).parent.parent
HOUSE = TOP / "deploy_manager"
LAYERS = (
    ("client",),  # it is installed without all others, and none of them imports it
    ("conf", "exceptions", "messages", "logs", "masking", "signals", "trust", "requester"),
    (
        *("refs", "pin_parts", "sealing", "logins", "private_keys", "schedule", "rollout_size"),
        *("drift", "https"),
    ),
    ("requirements", "inventories"),
    ("wheels", "advisories", "tiers", "forges"),
    ("models", "recipes", "git"),
    ("hosts", "notifications", "row_checks", "isolation"),
    (
        *("credentials", "credential_checks", "addresses", "site_secrets", "rotation", "auditing"),
        "visibility",
    ),
    ("packages", "watching", "inventory"),
    ("deployments",),
    ("upgrades",),
    ("reconcile", "broker", "embedded"),
    ("dispatch",),
    ("tasks",),
    ("checks", "apps", "admin", "cli", "api", "webhooks"),
    ("management", "fabfile", "urls"),
)
"""From the ground up; a room imports from its own and from lower layers only."""

PURE = {
    "requirements",
    "inventories",
    "wheels",
    "advisories",
    "recipes",
    "git",
    "hosts",
    "notifications",
    "tiers",
    "forges",
}
"""Rooms without a database."""

NOT_KNOWN = {
    *((room, "models") for room in PURE),
    *permutations(("logs", "refs", "pin_parts", "schedule", "rollout_size", "drift", "https"), 2),
    *permutations(("wheels", "advisories", "tiers", "forges"), 2),
    *permutations(("models", "recipes", "git"), 2),
    *permutations(("hosts", "notifications"), 2),
    *permutations(("requirements", "inventories"), 2),
    *permutations(("packages", "watching", "inventory"), 2),
    *permutations(("checks", "admin", "cli", "api", "webhooks"), 2),
    *(
        (room, other)
        for room in ("models", "git", "hosts", "recipes", "notifications")
        for other in ("advisories", "forges")
    ),
    *((room, "https") for room in ("models", "git", "hosts", "recipes")),
    *(("forges", other) for other in ("https", "requirements", "inventories")),
    *((room, other) for room in ("models", "git") for other in ("requirements", "wheels")),
    *((room, other) for room in ("hosts",) for other in ("requirements", "wheels", "git")),
    *(("notifications", other) for other in ("requirements", "wheels", "git", "recipes")),
    *(("broker", room) for room in ("reconcile", "upgrades", "deployments", "packages", "models")),
    ("recipes", "requirements"),
}
"""Rooms that do not know each other, or not that way around."""

ONLY_IN = {
    "fabric": {"hosts"},
    "cryptography": {"hosts", "private_keys"},  # there it reads the certificates of hosts
    "paramiko": {"hosts", "inventories"},  # there it reads files of ssh, and connects to nothing
    "celery": {"broker", "dispatch", "tasks"},
    "kombu": {"broker", "embedded"},
    "cronsim": {"schedule"},
    "apprise": {"notifications"},
    "nacl": {"sealing"},
    "invoke": {"fabfile", "cli"},
    "rich": {"cli", "management", "client"},
    "truststore": {"trust", "client"},
    "platformdirs": {"client"},
    "ninja": {"api"},
    "pydantic": {"api"},
    "ansi2html": {"admin"},
    "pip_requirements_parser": {"requirements"},
    "virtualenv": set[str](),
}


def sources(folder: Path = HOUSE) -> list[Path]:
    return [
        path for path in sorted(folder.rglob("*.py")) if not {"migrations", "var"} & set(path.parts)
    ]


def room_of(path: Path) -> str:
    return path.relative_to(HOUSE).parts[0].removesuffix(".py")


@functools.cache
def imported(path: Path) -> list[tuple[str, int, bool]]:
    """Return every module a file imports, the line, and whether that is inside of a function."""
    return list(_imported(ast.parse(path.read_text())))


def _imported(tree: ast.Module) -> Iterator[tuple[str, int, bool]]:
    inner = {
        id(node)
        for function in ast.walk(tree)
        if isinstance(function, (ast.FunctionDef, ast.AsyncFunctionDef))
        for node in ast.walk(function)
    }
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from ((alias.name, node.lineno, id(node) in inner) for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            module = node.module or ""
            names = [module]
            if module == "deploy_manager":
                names = [f"{module}.{alias.name}" for alias in node.names]
            yield from ((name, node.lineno, id(node) in inner) for name in names)


def layer_of(room: str) -> int:
    found = [number for number, rooms in enumerate(LAYERS) if room in rooms]
    assert found, f"{room} has no layer yet: give it one here and in docs/architecture.md"
    return found[0]


def test_imports_go_down_only() -> None:
    wrong = []
    for path in sources():
        room = room_of(path)
        if room == "__init__":
            continue
        for module, line, _ in imported(path):
            other = module.removeprefix("deploy_manager.").split(".")[0]
            if not module.startswith("deploy_manager.") or other == room:
                continue
            if layer_of(other) > layer_of(room) or (room, other) in NOT_KNOWN:
                wrong.append(f"{path.relative_to(TOP)}:{line} imports {module}")
    assert not wrong


def test_a_library_is_spoken_to_in_one_room() -> None:
    wrong = [
        f"{path.relative_to(TOP)}:{line} imports {module}"
        for path in sources()
        for module, line, _ in imported(path)
        if room_of(path) not in ONLY_IN.get(module.split(".")[0], {room_of(path)})
    ]
    assert not wrong


def test_the_client_imports_nothing_but_itself_and_nobody_imports_it() -> None:
    """It is installed without Django, and without whatever else only a project needs."""
    project = tomllib.loads((TOP / "pyproject.toml").read_text())["project"]
    assert project["dependencies"] == []
    extra = project["optional-dependencies"]["client"]
    known = {re.match(r"[\w-]+", each)[0].replace("-", "_") for each in extra}  # type: ignore[index]
    may = sys.stdlib_module_names | known

    def is_wrong(path: Path, module: str) -> bool:
        is_own = module.startswith("deploy_manager.client")
        if room_of(path) != "client":
            return is_own
        # The package itself, which imports nothing, has the version.
        return not is_own and module.split(".")[0] not in may and module != "deploy_manager"

    wrong = [
        f"{path.relative_to(TOP)}:{line} imports {module}"
        for path in sources()
        for module, line, _ in imported(path)
        if is_wrong(path, module)
    ]
    assert not wrong


RESOLVING = {
    *("complete_pins", "complete_asking", "find_pins", "move_pins", "run_uv"),
    *("plan_upgrade", "take_up", "run_policy", "do_policy"),
}
"""What has uv resolve, here and now."""


def test_no_page_runs_the_resolver() -> None:
    wrong = [
        f"{path.relative_to(TOP)}:{node.lineno} imports {alias.name}"
        for path in sources(HOUSE / "admin")
        for node in ast.walk(ast.parse(path.read_text()))
        if isinstance(node, ast.ImportFrom)
        for alias in node.names
        if alias.name in RESOLVING
    ]
    assert not wrong


def test_programs_that_read_what_strangers_wrote_are_run_in_few_places() -> None:
    """Each with a minimal environment, and so that it builds nothing."""
    runs = {
        path.relative_to(HOUSE).as_posix()
        for room in (
            "requirements",
            "inventories",
            "inventory",
            "wheels",
            "advisories",
            "packages",
            "deployments",
            "upgrades",
            "admin",
            "cli",
        )
        for path in sources(HOUSE / room)
        for module, _line, _inside in imported(path)
        if module == "subprocess"
    }
    assert runs == {
        "requirements/uv.py",
        "requirements/own_index.py",
        "inventories/ansible_command.py",
    }


LATE = {
    "recipes/installing.py",
    "cli/deployments/command.py",  # what a dry run needs of the hosts
    "cli/fab/selection.py",  # the same, and what plans an upgrade
    "deployments/foreseeing.py",  # what asks servers and indexes
    "deployments/prepare.py",  # what has uv resolve
    "packages/overrides.py",  # the same
}


def test_the_house_is_imported_at_the_top_of_files() -> None:
    """Except where Django, at each start, would take along what only an open page needs, and a
    request what only a worker needs.
    """
    late = {"apps", "admin", "checks", "dispatch"}
    wrong = [
        f"{path.relative_to(TOP)}:{line} imports {module}"
        for path in sources()
        if room_of(path) not in late and path.relative_to(HOUSE).as_posix() not in LATE
        for module, line, inside in imported(path)
        if inside and module.startswith("deploy_manager")
    ]
    assert not wrong


def test_no_room_is_a_drawer_for_everything() -> None:
    drawers = {"utils", "util", "helpers", "services", "common", "misc"}
    assert not [path for path in TOP.rglob("*.py") if path.stem in drawers and is_ours(path)]


def is_ours(path: Path) -> bool:
    return not {".venv", ".tox", "var", "build"} & set(path.relative_to(TOP).parts)


def committed() -> list[Path]:
    listed = subprocess.run(
        ["git", "-C", str(TOP), "ls-files", "-z"], capture_output=True, text=True, check=True
    )
    paths = [TOP / name for name in listed.stdout.split("\0") if name]
    return [path for path in paths if path.is_file() and path.suffix != ".png"]


def test_nothing_names_the_machine_it_was_written_on_or_an_index() -> None:
    unwanted = re.compile(r"/[w]ork/|/[r]oot/|\b(pypi|pythonhosted|npmjs)\.(org|com)")
    found = [
        f"{path.relative_to(TOP)}:{number}: {line.strip()[:80]}"
        for path in committed()
        for number, line in enumerate(path.read_text(errors="replace").splitlines(), 1)
        if unwanted.search(line)
    ]
    assert not found


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a wheel and an sdist, built from what is committed or changed."""
    code, target = tmp_path_factory.mktemp("code"), tmp_path_factory.mktemp("built")
    for path in committed():
        copy = code / path.relative_to(TOP)
        copy.parent.mkdir(parents=True, exist_ok=True)
        copy.write_bytes(path.read_bytes())
    command = [sys.executable, "-m", "build", "--no-isolation", "--outdir", str(target), str(code)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    return target


def test_the_wheel_holds_what_runs_and_nothing_of_the_tests(built: Path) -> None:
    names = set(zipfile.ZipFile(next(built.glob("*.whl"))).namelist())
    for wanted in (
        "py.typed",
        "recipes/remote/processes/serve.py",
        "static/deploy_manager/admin.css",
        "templates/admin/deploy_manager/deployment/change_form.html",
        "locale/fr/LC_MESSAGES/django.mo",
        "migrations/0001_initial.py",
        "management/commands/deploy.py",
    ):
        assert f"deploy_manager/{wanted}" in names
    assert not [name for name in names if name.startswith(("tests/", "example_project/"))]


def test_the_sdist_holds_what_a_build_needs(built: Path) -> None:
    with tarfile.open(next(built.glob("*.tar.gz"))) as sdist:
        names = {name.partition("/")[2] for name in sdist.getnames()}
    assert {"pyproject.toml", "README.md", "LICENSE", "deploy_manager/apps.py"} <= names


def test_no_test_imports_the_demo_whose_celery_app_would_become_everybody_s() -> None:
    wrong = [
        f"{path.relative_to(TOP)}:{line} imports {module}"
        for path in sources(TOP / "tests")
        for module, line, _ in imported(path)
        if module.split(".")[0] == "example_project"
    ]
    assert not wrong


GONE = re.compile(
    r"\b(doors?|bells?|rung|stor(y|ies)|sweeps?|swept|strays?|wish(es)?)\b"
    r"|\b(way[ _]back|borne|by itself)\b",
    re.IGNORECASE,
)
"""Words of our own that the field has others for: see docs/glossary.md."""


def test_the_words_are_those_of_the_field() -> None:
    found = [
        f"{path.relative_to(TOP)}:{number}: {word[0]}"
        for path in committed()
        if path.suffix in {".py", ".html", ".js", ".css", ".md"} and path.name != "CHANGELOG.md"
        if path.is_relative_to(HOUSE) or path.suffix == ".md"
        for number, line in enumerate(path.read_text().splitlines(), 1)
        if (word := GONE.search(line))
    ]
    assert not found
