"""`/docs`: the OpenAPI document as one page of plain HTML, without a script and without an address elsewhere."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Iterator
from html import escape

from api import openapi
from schemas.jsons import JsonObject

_STYLE = """
:root { color-scheme: light dark; --line: #8884; --soft: #8881; --link: #2563c9; }
@media (prefers-color-scheme: dark) { :root { --link: #8ab4f8; } }
body { margin: 0; font: 15px/1.5 system-ui, sans-serif; display: flex; }
nav { position: sticky; top: 0; height: 100vh; overflow: auto; box-sizing: border-box; width: 19rem; flex: none;
  padding: 1rem; border-right: 1px solid var(--line); font-size: 13px; }
main { padding: 1rem 2rem 4rem; max-width: 60rem; min-width: 0; }
nav a { display: block; padding: 1px 0; } nav b { display: block; margin-top: .8rem; }
a { color: var(--link); text-decoration: none; } a:hover { text-decoration: underline; }
section { border-top: 1px solid var(--line); margin-top: 1.5rem; padding-top: .5rem; }
code, pre { font: 13px/1.45 ui-monospace, monospace; background: var(--soft); border-radius: 3px; }
code { padding: 0 .2em; } pre { padding: .7em; overflow: auto; } pre code { background: none; padding: 0; }
table { border-collapse: collapse; width: 100%; font-size: 14px; }
td, th { border: 1px solid var(--line); padding: .25em .5em; text-align: left; vertical-align: top; }
summary { cursor: pointer; margin: .4rem 0; }
@media (max-width: 50rem) { body { display: block; } nav { position: static; width: auto; height: auto; } }
"""
_BOUNDS = ("format", "pattern", "minimum", "maximum", "minLength", "maxLength", "minItems", "maxItems", "default")


def page(document: JsonObject) -> str:
    info, schemas = document["info"], document["components"]["schemas"]
    told = [*openapi.operations(document), *_deliveries(document)]
    parts = [
        f"<h1>{_text(info['title'])}</h1>{_paragraphs(info['description'])}",
        '<p>As data: <a href="/openapi.json">/openapi.json</a>. In short: <a href="/llms.txt">/llms.txt</a>.</p>',
        *(_group(tag, [each for each in told if tag["name"] in each.told["tags"]]) for tag in document["tags"]),
        _errors(document["components"]["examples"]),
        "<section><h2 id='schemas'>Schemas</h2></section>",
        *(_schema(name, schema) for name, schema in sorted(schemas.items())),
    ]
    return (
        "<!doctype html><html lang='en'><head><meta charset='utf-8'>"
        "<meta name='viewport' content='width=device-width, initial-scale=1'>"
        f"<title>{_text(info['title'])} API</title><style>{_STYLE}</style></head>"
        f"<body><nav>{_contents(document, told)}</nav><main>{''.join(parts)}</main></body></html>"
    )


def _deliveries(document: JsonObject) -> Iterator[openapi.Operation]:
    for kind, methods in document["webhooks"].items():
        for method, told in methods.items():
            yield openapi.Operation(method.upper(), kind, told)


def _contents(document: JsonObject, told: list[openapi.Operation]) -> str:
    lines = []
    for tag in document["tags"]:
        lines.append(f"<b>{_text(tag['name'])}</b>")
        for each in told:
            if tag["name"] in each.told["tags"]:
                lines.append(f"<a href='#{each.told['operationId']}'>{_text(each.told['summary'])}</a>")
    return "".join([*lines, "<b><a href='#errors'>Errors</a></b><b><a href='#schemas'>Schemas</a></b>"])


def _group(tag: JsonObject, told: list[openapi.Operation]) -> str:
    head = f"<section><h2>{_text(tag['name'])}</h2>{_paragraphs(tag['description'])}</section>"
    return head + "".join(_operation(each) for each in told)


def _operation(operation: openapi.Operation) -> str:
    told = operation.told
    scope = told.get("x-scope")
    return (
        f"<section id='{told['operationId']}'><h3>{_text(told['summary'])}</h3>"
        f"<p><code><b>{operation.method}</b> {_text(operation.path)}</code>"
        f"{f' needs <code>{scope}</code>' if scope else ''}</p>{_paragraphs(told.get('description', ''))}"
        f"{_parameters(told.get('parameters', []))}{_body(told)}{_answers(told['responses'])}</section>"
    )


def _parameters(parameters: list[JsonObject]) -> str:
    rows = [
        (f"<code>{_text(each['name'])}</code>", each["in"], _type(each["schema"]), _text(_description(each)))
        for each in parameters
    ]
    return _table(("parameter", "in", "type", ""), rows) if rows else ""


def _description(parameter: JsonObject) -> str:
    return str(parameter.get("description") or parameter["schema"].get("description") or "")


def _body(told: JsonObject) -> str:
    parts = []
    for media, content in told.get("requestBody", {}).get("content", {}).items():
        parts.append(f"<p>Body, <code>{media}</code>: {_type(content['schema'])}</p>")
        if "properties" in content["schema"]:
            parts.append(_fields(content["schema"]))
        parts.append(_example("Example", content.get("example")))
    return "".join(parts)


def _answers(responses: JsonObject) -> str:
    rows, shown = [], ""
    for status, answer in responses.items():
        content = answer.get("content", {})
        types = " or ".join(_type(each["schema"]) for each in content.values() if each.get("schema"))
        rows.append((status, types, _text(answer["description"])))
        for each in content.values():
            shown += _example(f"Example of {status}", each.get("example"))
    return _table(("answer", "type", ""), rows) + shown


def _example(title: str, value: object) -> str:
    if value is None:
        return ""
    text = escape(json.dumps(value, indent=2, ensure_ascii=False))
    return f"<details><summary>{title}</summary><pre><code>{text}</code></pre></details>"


def _errors(examples: JsonObject) -> str:
    """By code: what each says, as its example has it."""
    rows = [
        (f"<code>{_text(code)}</code>", _text(example["value"]["error"]["message"]))
        for code, example in examples.items()
    ]
    return f"<section id='errors'><h2>Errors</h2>{_table(('code', 'message'), rows)}</section>"


def _schema(name: str, schema: JsonObject) -> str:
    body = _fields(schema) if "properties" in schema else f"<p>{_type(schema)}</p>"
    return f"<section id='schema-{name}'><h3>{name}</h3>{_paragraphs(schema.get('description', ''))}{body}</section>"


def _fields(schema: JsonObject) -> str:
    required = schema.get("required", [])
    rows = [
        (
            f"<code>{_text(name)}</code>{'' if name in required else ' (optional)'}",
            _type(each),
            _text(each.get("description", "")),
        )
        for name, each in schema["properties"].items()
    ]
    return _table(("field", "type", ""), rows)


def _type(schema: JsonObject) -> str:
    """In a line: a link to a schema of its own, or the kind with its bounds."""
    if "$ref" in schema:
        name = schema["$ref"].rsplit("/", 1)[-1]
        return f"<a href='#schema-{name}'>{name}</a>"
    for key, between in (("anyOf", " or "), ("oneOf", " or "), ("allOf", " with ")):
        if key in schema:
            return between.join(_type(each) for each in schema[key])
    if "const" in schema or "enum" in schema:
        return " or ".join(f"<code>{_text(str(each))}</code>" for each in schema.get("enum", [schema.get("const")]))
    if schema.get("type") == "array":
        return f"array of {_type(schema.get('items', {}))}"
    bounds = [f"{name} <code>{escape(str(schema[name]))}</code>" for name in _BOUNDS if name in schema]
    return ", ".join([str(schema.get("type", "anything")), *bounds])


def _table(head: tuple[str, ...], rows: Iterable[tuple[str, ...]]) -> str:
    def line(cells: tuple[str, ...], kind: str) -> str:
        return "<tr>" + "".join(f"<{kind}>{cell}</{kind}>" for cell in cells) + "</tr>"

    return f"<table>{line(head, 'th')}{''.join(line(row, 'td') for row in rows)}</table>"


def _paragraphs(text: str) -> str:
    return "".join(f"<p>{_text(part)}</p>" for part in text.split("\n\n"))


def _text(text: str) -> str:
    """Escaped, with the two marks that descriptions use: `code` and **bold**."""
    marked = re.sub(r"`([^`]+)`", r"<code>\1</code>", escape(text))
    return re.sub(r"\*\*([^*]+)\*\*", r"<b>\1</b>", marked)
