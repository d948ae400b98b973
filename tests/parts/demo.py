"""Modules of the demo without its package, whose Celery app would become that of the tests."""

import importlib.util
import sys
from pathlib import Path
from types import ModuleType

FOLDER = Path(__file__).parent.parent.parent / "example_project" / "demo"


def demo_module(name: str) -> ModuleType:
    """Return a module of `example_project/demo/` that imports nothing else of the demo."""
    alias = f"tests_of_demo_{name}"
    if alias not in sys.modules:
        spec = importlib.util.spec_from_file_location(alias, FOLDER / f"{name}.py")
        assert spec is not None
        assert spec.loader is not None
        # Dataclasses look for the module that they are in.
        sys.modules[alias] = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(sys.modules[alias])
    return sys.modules[alias]
