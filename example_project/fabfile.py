"""The tasks of fab in this folder, like `fab production deploy`."""

import os
import sys
from pathlib import Path

HERE = Path(__file__).resolve().parent
# fab puts this folder on the path, where `import celery` would find our celery.py.
sys.path[:] = [str(HERE.parent), *(entry for entry in sys.path if Path(entry).resolve() != HERE)]
os.environ.setdefault("DJANGO_SETTINGS_MODULE", "example_project.settings")

from deploy_manager.fabfile import *  # noqa: E402, F403
