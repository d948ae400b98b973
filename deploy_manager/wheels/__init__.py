"""The worker's wheels: fetched once, verified against the lock, kept by what is in them.

Pure: no database. What has no wheel is handed to a `Build` of the caller's, once for a Python.
"""

from deploy_manager.wheels.cache import Cache, Kept
from deploy_manager.wheels.providing import Build, Provided, provide
from deploy_manager.wheels.python import ServerPython, own_python

__all__ = [
    "Build",
    "Cache",
    "Kept",
    "Provided",
    "ServerPython",
    "own_python",
    "provide",
]
