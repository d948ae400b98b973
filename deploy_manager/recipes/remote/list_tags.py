"""Print which wheels this Python accepts. Runs on the server, beside `packaging` in a zip file.

Prints JSON in one line: tags, best first, and markers. Python 3.8 or later.
"""

from __future__ import annotations

import json

from packaging.markers import default_environment
from packaging.tags import sys_tags

print(json.dumps({"tags": [str(tag) for tag in sys_tags()], "markers": default_environment()}))
