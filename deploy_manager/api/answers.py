"""Answers that are JSON already."""

import json
from collections.abc import Mapping
from typing import Any

from django.http import HttpResponse

MEDIA_TYPE = "application/json"


def as_it_is(answer: Mapping[str, Any], status: int = 200) -> HttpResponse:
    """Answer with what was made of JSON's own types, which no schema has to look at again."""
    return HttpResponse(json.dumps(answer), status=status, content_type=MEDIA_TYPE)


def created(answer: Mapping[str, Any]) -> HttpResponse:
    return as_it_is(answer, 201)
