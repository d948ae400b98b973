"""What an account says of installing changes nothing; what it says of reaching an index stays."""

import os
import runpy
import sys
import tomllib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from deploy_manager.exceptions import RecipeError
from deploy_manager.recipes import installing, shipping
from tests.parts.matrices import few
from tests.recipe_site import RecipeSite

SCRIPT = Path(shipping.__file__).parent / "remote" / shipping.TOOL_RUNNER
PIP = """
[global]
quiet = 3
user = true
python = {python}
require-hashes = true
no-build-isolation = false
[install]
target = {folder}/target
root = {folder}/root
prefix = {folder}/prefix
constraint = {folder}/constraint
requirement = {folder}/requirement
no-binary = :all:
dry-run = true
ignore-installed = true
no-deps = false
"""
UV = """
system-certs = true
override-dependencies = ["sqlparse==0.4.0"]
constraint-dependencies = ["sqlparse==0.4.0"]
no-binary = true
[pip]
target = "{folder}/target"
prefix = "{folder}/prefix"
system = true
break-system-packages = true
no-binary = [":all:"]
no-build = true
exclude-newer = "2001-01-01"
"""
VIRTUALENV = "[virtualenv]\nsystem-site-packages = true\nno-seed = true\ncreator = venv\n"
VARIABLES = {
    "PIP_USER": "1",
    "PIP_TARGET": "{folder}/target",
    "PIP_DRY_RUN": "1",
    "PIP_NO_BINARY": ":all:",
    "PIP_REQUIRE_VIRTUALENV": "1",
    "UV_SYSTEM_PYTHON": "1",
    "UV_NO_BINARY": "1",
    "UV_NO_BUILD": "1",
    "UV_EXCLUDE_NEWER": "2001-01-01",
    "UV_OVERRIDE": "{folder}/constraint",
}


@pytest.fixture(params=few("uv", "pip"))
def odd_site(
    request: pytest.FixtureRequest,
    recipe_site: RecipeSite,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> RecipeSite:
    """A site on an account whose files and variables have both installers do otherwise."""
    (tmp_path / "constraint").write_text("sqlparse==0.4.0\n")
    (tmp_path / "requirement").write_text("no-such-package==1\n")
    facts = {"folder": tmp_path, "python": sys.executable}
    for name, text in (("PIP", PIP), ("UV", UV)):
        path = tmp_path / f"{name}.conf"
        path.write_text(text.format(**facts))
        monkeypatch.setenv(f"{name}_CONFIG_FILE", str(path))
    home = tmp_path / "home"
    (home / ".config/virtualenv").mkdir(parents=True)
    (home / ".config/virtualenv/virtualenv.ini").write_text(VIRTUALENV)
    monkeypatch.setenv("HOME", str(home))
    for name, value in VARIABLES.items():
        monkeypatch.setenv(name, value.format(**facts))
    recipe_site.use(installer=request.param)
    return recipe_site


def test_an_environment_has_its_pins_whatever_the_account_says_of_installing(
    odd_site: RecipeSite, tmp_path: Path
) -> None:
    odd_site.run("checkout_latest", "make_virtualenv", "install_requirements")

    ask = [odd_site.site.python_path, "-c", "import asgiref, sqlparse; print(sqlparse.__file__)"]
    told = odd_site.host.run(ask).stdout
    assert told.startswith(f"{odd_site.site.release_path}/venv/")
    made = Path(odd_site.site.release_path, "venv/pyvenv.cfg").read_text()
    assert "include-system-site-packages = false" in made
    assert Path(odd_site.site.release_path, "venv/.complete").exists()
    assert not [name for name in ("target", "root", "prefix") if (tmp_path / name).exists()]


def test_what_is_not_as_pinned_is_never_called_complete(
    recipe_site: RecipeSite, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(installing._INSTALLERS, "pip", lambda host, site, path: None)
    with pytest.raises(RecipeError, match=r"not used:\n  asgiref is missing, should be 3\.8\.1"):
        recipe_site.run("checkout_latest", "make_virtualenv", "install_requirements")
    assert not Path(recipe_site.site.release_path, "venv/.complete").exists()


@pytest.fixture
def tool(monkeypatch: pytest.MonkeyPatch) -> dict[str, Any]:
    """The functions of the script; nothing of this account is in its environment."""
    for prefix in ("PIP_", "UV_", "XDG_"):
        for name in [name for name in os.environ if name.startswith(prefix)]:
            monkeypatch.delenv(name)
    return runpy.run_path(str(SCRIPT))


def test_how_pip_reaches_an_index_stays(
    tool: dict[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "pip.conf").write_text(
        "[global]\nindex-url = https://me:it's@one.test/\ncert = /ca.pem\nproxy = http://p:1\n"
        "[install]\nindex-url = https://two.test/\ntrusted-host =\n    a.test\n    b.test\n"
        "[wheel]\nindex-url = https://three.test/\n"
    )
    monkeypatch.setenv("PIP_CONFIG_FILE", str(tmp_path / "pip.conf"))
    monkeypatch.setenv("PIP_TIMEOUT", "99")
    for_pip: Callable[..., dict[str, str]] = tool["for_pip"]

    found = for_pip("install", "")

    expected = {
        "PIP_INDEX_URL": "https://two.test/",
        "PIP_CERT": "/ca.pem",
        "PIP_PROXY": "http://p:1",
        "PIP_TRUSTED_HOST": "\na.test\nb.test",
        "PIP_TIMEOUT": "99",
        "PIP_CONFIG_FILE": "/dev/null",
    }
    assert found.items() >= expected.items()
    assert for_pip("wheel", "")["PIP_INDEX_URL"] == "https://three.test/"
    assert for_pip("install", "https://ours.test/")["PIP_INDEX_URL"] == "https://ours.test/"


def test_how_uv_reaches_an_index_stays(
    tool: dict[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for folder, text in (
        ("own", 'native-tls = true\nextra-index-url = ["https://a.test"]\n[pip]\ntarget = "/t"\n'),
        ("all", 'native-tls = false\nno-build = true\nextra-index-url = ["https://b.test"]\n'),
    ):
        (tmp_path / folder / "uv").mkdir(parents=True)
        (tmp_path / folder / "uv" / "uv.toml").write_text(text)
    index = '[[index]]\nname = "é"\nurl = "https://it\'s.test/\\"x"\ndefault = true\n'
    with (tmp_path / "own" / "uv" / "uv.toml").open("a", encoding="utf-8") as file:
        file.write("no-index = false\n" + index)
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "own"))
    monkeypatch.setenv("XDG_CONFIG_DIRS", str(tmp_path / "all"))
    for name, value in {
        "UV_TARGET": "/t",
        "UV_INDEX_E_PASSWORD": "s",
        "UV_HTTP_TIMEOUT": "9",
    }.items():
        monkeypatch.setenv(name, value)

    found = tool["for_uv"](str(tmp_path), "https://ours.test/")

    assert tomllib.loads(Path(found["UV_CONFIG_FILE"]).read_text("utf-8")) == {
        "native-tls": True,
        "extra-index-url": ["https://a.test", "https://b.test"],
        "index": [{"name": "é", "url": "https://it's.test/\"x", "default": True}],
        "pip": {"no-index": False},
    }
    ours = {name: found[name] for name in found if name.startswith("UV_")}
    assert ours == {
        "UV_CONFIG_FILE": f"{tmp_path}/uv.toml",
        "UV_DEFAULT_INDEX": "https://ours.test/",
        "UV_HTTP_TIMEOUT": "9",
        "UV_INDEX_E_PASSWORD": "s",
    }
