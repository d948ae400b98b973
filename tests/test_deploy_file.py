"""deploy.toml, or a table of pyproject.toml: what a repository says of its own deployments."""

import pytest

from deploy_manager.deployments.deploy_file import read_build_commands
from deploy_manager.exceptions import CodeError

NPM = 'build = ["npm ci", "npm run build"]\n'
OTHER = 'build = ["make"]\n'


def commands(folder: str = "", **contents: str) -> tuple[str, ...]:
    """Read a commit's files; `apps__web__deploy` stands for apps/web/deploy.toml."""
    files = {f"{name.replace('__', '/')}.toml": text.encode() for name, text in contents.items()}
    return read_build_commands(files.get, folder)


def test_build_commands_keep_their_order() -> None:
    assert commands(deploy=NPM) == ("npm ci", "npm run build")


def test_a_table_of_the_project_file_does_as_well() -> None:
    assert commands(pyproject=f"[project]\nname = 'shop'\n[tool.deploy_manager]\n{OTHER}") == (
        "make",
    )


def test_a_repository_that_says_nothing_builds_nothing() -> None:
    assert commands() == ()
    assert commands(pyproject="[tool.ruff]\nline-length = 88\n") == ()
    assert commands(deploy="# nothing yet\n") == ()


def test_the_folder_of_the_site_goes_before_the_top() -> None:
    assert commands("apps/web", deploy=NPM) == ("npm ci", "npm run build")
    assert commands("apps/web", deploy=NPM, apps__web__deploy=OTHER) == ("make",)


REFUSED = [
    ({"deploy": "build = [ma"}, r"^deploy\.toml of the commit can't be read as TOML: .*line 1"),
    ({"pyproject": "= 1"}, r"^pyproject\.toml of the commit can't be read"),
    (
        {"deploy": 'buidl = ["make"]\n'},
        r"^deploy\.toml of the commit: 'buidl' is not known\. What may stand there: build\.$",
    ),
    (
        {"pyproject": "[tool.deploy_manager]\nstatic = true\n"},
        r"^pyproject\.toml \[tool\.deploy_manager\] of the commit: 'static' is not known",
    ),
    ({"deploy": 'build = "make"'}, r'list of commands, like \["npm ci", "npm run build"\]'),
    ({"deploy": "build = [1]"}, "list of commands"),
    ({"deploy": 'build = [" "]'}, "list of commands"),
    ({"deploy": r'build = ["make\u0000"]'}, "control characters"),
    ({"deploy": r'build = ["make # \u202e"]'}, "control characters"),
    (
        {"deploy": "build = [" + '"make",' * 51 + "]"},
        "at most 50 commands of at most 1000 characters",
    ),
    ({"pyproject": "[tool]\ndeploy_manager = 1\n"}, r"\[tool\.deploy_manager\] is not a table"),
    (
        {"deploy": NPM, "pyproject": f"[tool.deploy_manager]\n{OTHER}"},
        r"both deploy\.toml and pyproject\.toml \[tool\.deploy_manager\]: keep one",
    ),
    ({"deploy": "a = " + "[" * 5000}, "can't be read as TOML"),
]


@pytest.mark.parametrize(("contents", "why"), REFUSED)
def test_a_file_that_is_not_understood_is_refused(contents: dict[str, str], why: str) -> None:
    with pytest.raises(CodeError, match=why):
        commands(**contents)


def test_a_file_that_is_no_text_is_refused() -> None:
    with pytest.raises(CodeError, match=r"deploy\.toml of the commit can't be read"):
        read_build_commands({"deploy.toml": b"\xff\xfe"}.get, "")
