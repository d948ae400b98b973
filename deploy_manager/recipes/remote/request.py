"""Make one request inside a project, to see what it raises. Runs by its `manage.py shell`.

Reads JSON: path, and host (the Host header). Prints the traceback, or the status of the answer.
"""

from __future__ import annotations

import json
import sys
import traceback

from django.test import Client

facts = json.load(sys.stdin)
# As the health check asks: as a web server in front would, for a request by HTTPS.
headers = {"HTTP_HOST": facts["host"], "HTTP_X_FORWARDED_PROTO": "https"}
try:
    answer = Client().get(facts["path"], secure=True, **headers)
except Exception:
    print("The same request, made once more in a process of its own, raises:")
    print(traceback.format_exc())
else:
    print(
        "The same request, made once more in a process of its own, is answered with status"
        f" {answer.status_code}: the reason is in how the site is served, not in its code."
    )
