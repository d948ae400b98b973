"""The recipes of a project's apps are loaded once, when the first is asked for, whoever asks."""

import subprocess
import sys
from pathlib import Path

import pytest

SETTINGS = """
from tests.settings import *
INSTALLED_APPS = [*INSTALLED_APPS, "broken", "shop"]
"""
SHOP = """
import time
time.sleep(0.5)  # what it imports takes long
from deploy_manager.recipes import Phase, Pipeline, add_pipeline, get_pipeline, recipe

@recipe("Warm the cache")
def warm(host, site): ...

known = get_pipeline("deploy")
add_pipeline(Pipeline("warmly", "Warmly", (*known.phases, Phase("warm", "Warm", ("warm",)))))
"""
BROKEN = "raise SystemExit('SECRET is not set.')"
ASK = """
import threading, time
import django
django.setup()
from deploy_manager.recipes import broken_modules, get_pipeline

found = []

def import_it():
    import shop.recipes
    found.append("imported")

def ask():
    found.append(get_pipeline("warmly").recipes[-1].name)

threads = [threading.Thread(target=each, daemon=True) for each in (import_it, ask)]
for thread in threads:
    thread.start()
    time.sleep(0.1)
for thread in threads:
    thread.join(10)
print(sorted(found), broken_modules())
"""


@pytest.fixture
def project(tmp_path: Path) -> Path:
    (tmp_path / "own_settings.py").write_text(SETTINGS)
    for name, text in {"shop": SHOP, "broken": BROKEN}.items():
        (tmp_path / name).mkdir()
        (tmp_path / name / "__init__.py").touch()
        (tmp_path / name / "recipes.py").write_text(text)
    return tmp_path


def test_modules_that_ask_for_recipes_themselves_stop_nobody_and_broken_ones_are_named(
    project: Path,
) -> None:
    code = f"""
import os, sys
os.environ["DJANGO_SETTINGS_MODULE"] = "own_settings"
sys.path[:0] = [{str(project)!r}, {str(Path.cwd())!r}]
{ASK}"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60)
    assert done.stdout.strip() == (
        "['imported', 'warm'] {'broken.recipes': 'SystemExit: SECRET is not set.'}"
    ), done.stderr
