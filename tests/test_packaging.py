"""What is installed by which extra, and what a project is told that lacks one."""

import importlib.metadata
import os
import re
import subprocess
import sys
import tomllib
from pathlib import Path

from packaging.requirements import Requirement

from deploy_manager.apps import LIBRARIES
from tests.parts.served import packages_of

TOP = Path(__file__).parent.parent
SETTINGS = 'SECRET_KEY = "only for tests"\nINSTALLED_APPS = ["deploy_manager"]\n'
DJANGO = ("django", "asgiref", "sqlparse")


def manager_extra() -> set[str]:
    """Return the names of the distributions that a Django project gets."""
    project = tomllib.loads((TOP / "pyproject.toml").read_text())["project"]
    extra = project["optional-dependencies"]["manager"]
    return {re.sub(r"[-_.]+", "-", Requirement(each).name).lower() for each in extra}


def test_each_library_of_the_extra_is_looked_for() -> None:
    of = importlib.metadata.packages_distributions()
    found = {re.sub(r"[-_.]+", "-", of[name][0]).lower() for name in LIBRARIES}
    assert found == manager_extra() - {"django"}


def test_a_project_that_has_only_the_code_is_told_what_to_install(tmp_path: Path) -> None:
    venv = tmp_path / "venv"
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", str(venv)], check=True)
    packages = packages_of(venv)
    for name in DJANGO:
        source = importlib.import_module(name).__file__
        assert source is not None
        (packages / name).symlink_to(Path(source).parent)
    (packages / "ours.pth").write_text(f"{TOP}\n")
    (tmp_path / "small_settings.py").write_text(SETTINGS)
    environ = {"PATH": os.defpath, "DJANGO_SETTINGS_MODULE": "small_settings"}
    done = subprocess.run(
        [str(venv / "bin/python"), "-m", "django", "check"],
        cwd=tmp_path,
        env=environ,
        capture_output=True,
        text=True,
        check=False,
    )
    last = done.stderr.splitlines()[-1]
    assert last.startswith(
        "django.core.exceptions.ImproperlyConfigured: deploy_manager lacks ninja"
    )
    assert "pip install 'deploy-manager[manager]'" in last
    assert "ModuleNotFoundError" not in done.stderr
