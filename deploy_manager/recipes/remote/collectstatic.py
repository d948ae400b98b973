"""Collect static files. Runs in the project, by its `manage.py shell`.

Prints what collectstatic does, and on the last line as JSON: root (STATIC_ROOT), and has_index
(whether names are looked up in an index that is kept there).
"""

from __future__ import annotations

import json
import os

from django.conf import settings
from django.core.management import call_command

call_command("collectstatic", interactive=False, skip_checks=False)

# Only after the command, which says so if the project has no static files.
from django.contrib.staticfiles.storage import (  # noqa: E402
    ManifestFilesMixin,
    staticfiles_storage,
)

facts = {
    "root": os.path.abspath(settings.STATIC_ROOT) if settings.STATIC_ROOT else "",
    "has_index": isinstance(staticfiles_storage, ManifestFilesMixin),
}
print()
print(json.dumps(facts))
