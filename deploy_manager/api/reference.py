"""The reference of the API, as its schema has it: a page of the site, and a page of the docs."""

import json
import secrets
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from django.http import HttpRequest, HttpResponse
from django.template.loader import render_to_string
from django.urls import reverse
from ninja.openapi.docs import DocsBase

TEMPLATE = "deploy_manager/api.html"
POLICY = "default-src 'none'; style-src 'nonce-{}'; base-uri 'none'; frame-ancestors 'none'"

Schema = dict[str, Any]


@dataclass(frozen=True)
class Field:
    """A parameter, or a field of a body."""

    name: str
    place: str
    """path, query, header, body or answer."""

    kind: str
    is_required: bool
    text: str


@dataclass(frozen=True)
class Described:
    """An operation, in words."""

    name: str
    method: str
    path: str
    text: str
    tag: str
    fields: tuple[Field, ...]
    status: str
    """Of the answer if it is done."""

    answer: tuple[Field, ...]
    needs_token: bool

    @property
    def address(self) -> str:
        return f"{self.method} {self.path}"


class Page(DocsBase):
    """The reference as a page of its own: no script, and nothing from elsewhere."""

    def render_page(self, request: HttpRequest, api: Any, **options: Any) -> HttpResponse:
        nonce = secrets.token_urlsafe(16)
        base = reverse(f"{api.urls_namespace}:api-root")
        context = {
            "api": api,
            "operations": list(described(_plain(api.get_openapi_schema(path_prefix=base)))),
            "schema_url": self.get_openapi_url(api, options),
            "nonce": nonce,
        }
        headers = {
            "Content-Security-Policy": POLICY.format(nonce),
            "X-Frame-Options": "DENY",
            "Referrer-Policy": "same-origin",
        }
        return HttpResponse(render_to_string(TEMPLATE, context), headers=headers)


def _plain(schema: Schema) -> Schema:
    """Return the schema without Markdown's marks of code, which a page would show as they are."""
    plain: Schema = json.loads(json.dumps(schema).replace("`", ""))
    return plain


def described(schema: Schema) -> Iterator[Described]:
    """Yield the operations of a schema in their order."""
    shapes = schema["components"]["schemas"]
    for path, operations in schema["paths"].items():
        for method, each in operations.items():
            status, done = next(iter(sorted((str(k), v) for k, v in each["responses"].items())))
            yield Described(
                name=each["operationId"],
                method=method.upper(),
                path=path,
                text=each.get("description", ""),
                tag=each["tags"][0],
                fields=(*_parameters(each), *_body(each, shapes)),
                status=status,
                answer=tuple(_of_content(done, "answer", shapes)),
                needs_token=bool(each.get("security")),
            )


def _parameters(operation: Schema) -> Iterator[Field]:
    for each in operation["parameters"]:
        text = each.get("description", each["schema"].get("description", ""))
        yield Field(each["name"], each["in"], _kind(each["schema"]), each["required"], text)


def _body(operation: Schema, shapes: Schema) -> Iterator[Field]:
    yield from _of_content(operation.get("requestBody", {}), "body", shapes)


def _of_content(part: Schema, place: str, shapes: Schema) -> Iterator[Field]:
    found = part.get("content", {}).get("application/json", {}).get("schema", {})
    is_list = found.get("type") == "array"
    name = found["items"] if is_list else found
    shape = shapes.get(name.get("$ref", "").rpartition("/")[2], {})
    required = shape.get("required", [])
    for field, each in shape.get("properties", {}).items():
        shown = f"[].{field}" if is_list else field
        yield Field(shown, place, _kind(each), field in required, each.get("description", ""))


def _kind(schema: Schema) -> str:
    """Return a type in few letters, like `[string]`, `integer or null` or `Pin`."""
    if ref := schema.get("$ref"):
        return str(ref.rpartition("/")[2])
    if several := schema.get("anyOf") or schema.get("oneOf"):
        return " or ".join(map(_kind, several))
    if known := schema.get("enum"):
        return " or ".join(f'"{each}"' for each in known)
    if "const" in schema:
        return f'"{schema["const"]}"'
    if schema.get("type") == "array":
        return f"[{_kind(schema.get('items', {}))}]"
    if isinstance(values := schema.get("additionalProperties"), dict):
        return f"{{name: {_kind(values)}}}"
    return str(schema.get("format") or schema.get("type", "any"))


def as_markdown(schema: Schema) -> str:
    """Return the page of the docs."""
    return "\n".join(_markdown(schema)) + "\n"


def _markdown(schema: Schema) -> Iterator[str]:
    yield "# The API's reference"
    yield ""
    yield "Written by `script/api-reference` from the schema, which each installation serves as"
    yield "`openapi.json`, with this page beside it as `docs`. [The API](api.md) introduces it."
    shapes = schema["components"]["schemas"]
    tag = ""
    for each in described(schema):
        if each.tag != tag:
            tag = each.tag
            yield f"\n## {tag.capitalize()}"
        yield f"\n### {each.name}\n"
        yield f"`{each.address}`" + ("" if each.needs_token else " (needs no token)")
        yield f"\n{each.text}\n"
        yield from _table(each.fields)
        yield f"\nAnswer: {each.status}\n" if each.fields else f"Answer: {each.status}\n"
        yield from _table(each.answer)
    yield "\n## Shapes"
    for name, shape in sorted(shapes.items()):
        if fields := list(_of_shape(shape)):
            yield f"\n### {name}\n"
            if "description" in shape:
                yield f"{shape['description']}\n"
            yield from _table(fields)


def _of_shape(shape: Schema) -> Iterator[Field]:
    required = shape.get("required", [])
    for field, each in shape.get("properties", {}).items():
        yield Field(field, "", _kind(each), field in required, each.get("description", ""))


def _table(fields: Any) -> Iterator[str]:
    rows = list(fields)
    if not rows:
        return
    has_places = any(each.place not in ("", "answer") for each in rows)
    yield "| name | in | type | |" if has_places else "| name | type | |"
    yield "|---|---|---|---|" if has_places else "|---|---|---|"
    for each in rows:
        place = f" {each.place} |" if has_places else ""
        note = f"**required** {each.text}" if has_places and each.is_required else each.text
        yield f"| `{each.name}` |{place} {_cell(each.kind)} | {_cell(note.strip())} |"


def _cell(text: str) -> str:
    return text.replace("|", "\\|").replace("\n", " ")
