"""Whether a JSON Schema still says of an event what an earlier one of the same version did. Pure.

Two ways count. What was written under the old schema stands in the log for ever: it must be readable under the new one.
And what is written under the new one is read by processes that still have the old one while they are replaced, and by
consumers that are not ours: to them it must be readable, too. A Literal that gets a value is enough for them to take an
event for malformed, for ever. So within a version nothing changes but what nobody needs: a field that may be missing.
Whatever is not known here counts as a change.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from schemas.jsons import JsonObject

_SAYS_NOTHING = frozenset({"$schema", "$id", "$defs", "$comment", "title", "description", "examples"})
_LEAST = frozenset({"minimum", "exclusiveMinimum", "minLength", "minItems", "minProperties"})
_MOST = frozenset({"maximum", "exclusiveMaximum", "maxLength", "maxItems", "maxProperties"})
_OLDER = "what stands in the log may not be readable any more"
_READERS = "readers of the version before would take it for malformed"
_UNSET = object()


def changes(old: JsonObject, new: JsonObject) -> list[str]:
    """A sentence for each incompatible change, with its place. Both are whole documents."""
    return list(dict.fromkeys(_Comparison(old, new).schemas(old, new, "", ())))


class _Comparison:
    def __init__(self, old: JsonObject, new: JsonObject) -> None:
        self._old = old.get("$defs", {})
        self._new = new.get("$defs", {})

    def schemas(self, old: JsonObject, new: JsonObject, at: str, within: tuple[str, ...]) -> Iterator[str]:
        """`within`: the definitions that led here. One that is met again within itself has been compared."""
        named = str(old.get("$ref", ""))
        if named and named in within:
            return
        old, new, within = _resolved(old, self._old), _resolved(new, self._new), (*within, named)
        place = at or "the event"
        if "anyOf" in old or "anyOf" in new:
            yield from self._variants(_variants(old), _variants(new), at, within)
            old, new = ({key: each[key] for key in ("default",) if key in each} for each in (old, new))
        yield from _values(old, new, place)
        yield from self._members(old, new, at, within)
        yield from self._items(old, new, at, within)
        yield from _rest(old, new, place)

    def _variants(
        self, old: Sequence[JsonObject], new: Sequence[JsonObject], at: str, within: tuple[str, ...]
    ) -> Iterator[str]:
        """Those that are in both are the same. One that is left on each side is the same one, changed."""
        lost = [each for each in old if not any(self._same(each, other, within) for other in new)]
        found = [each for each in new if not any(self._same(other, each, within) for other in old)]
        if len(lost) == len(found) == 1:
            yield from self.schemas(lost[0], found[0], at, within)
            return
        if lost:
            yield f"{at or 'the event'}: its type is narrower: {_OLDER}"
        if found:
            yield f"{at or 'the event'}: its type is wider: {_READERS}"

    def _same(self, old: JsonObject, new: JsonObject, within: tuple[str, ...]) -> bool:
        return not any(self.schemas(old, new, "", within))

    def _members(self, old: JsonObject, new: JsonObject, at: str, within: tuple[str, ...]) -> Iterator[str]:
        before, after = old.get("properties", {}), new.get("properties", {})
        had, has = set(old.get("required", ())), set(new.get("required", ()))
        for name in sorted(before.keys() | after.keys()):
            place = f"{at}.{name}".lstrip(".")
            if name not in after:
                yield f"{place}: was removed: the log has it, and readers of the version before miss it"
                continue
            if name in has - had:
                yield f"{place}: is required now: {_OLDER}"
            if name not in before:
                continue
            if name in had - has:
                yield f"{place}: is not required any more: {_READERS}"
            yield from self.schemas(before[name], after[name], place, within)

    def _items(self, old: JsonObject, new: JsonObject, at: str, within: tuple[str, ...]) -> Iterator[str]:
        for keyword, mark in (("items", "[]"), ("additionalProperties", ".*")):
            before, after = old.get(keyword, True), new.get(keyword, True)
            if isinstance(before, dict) and isinstance(after, dict):
                yield from self.schemas(before, after, at + mark, within)
            elif before != after:
                yield from _bounded(before is False or after is True, at + mark)
        before, after = old.get("prefixItems", []), new.get("prefixItems", [])
        if len(before) != len(after):
            yield f"{at}[]: has another number of places"
        for n, (one, other) in enumerate(zip(before, after, strict=False)):
            yield from self.schemas(one, other, f"{at}[{n}]", within)


def _resolved(schema: JsonObject, definitions: Mapping[str, Any]) -> JsonObject:
    while "$ref" in schema:
        more = {key: value for key, value in schema.items() if key != "$ref"}
        schema = {**definitions[schema["$ref"].rpartition("/")[2]], **more}
    return schema


def _variants(schema: JsonObject) -> list[JsonObject]:
    return schema["anyOf"] if "anyOf" in schema else [{k: v for k, v in schema.items() if k != "default"}]


def _values(old: JsonObject, new: JsonObject, place: str) -> Iterator[str]:
    """Which values there may be: by type, and one by one."""
    for before, after in (
        (_named(old.get("type")), _named(new.get("type"))),
        (_enumerated(old), _enumerated(new)),
    ):
        if before == after:
            continue
        if after is not None and (before is None or before - after):
            lost = f"no {' or '.join(sorted(before - after))} any more" if before is not None else "fewer values"
            yield f"{place}: takes {lost}: {_OLDER}"
        if before is not None and (after is None or after - before):
            found = f"{' and '.join(sorted(after - before))} besides" if after is not None else "more values"
            yield f"{place}: takes {found}: {_READERS}"


def _named(types: str | Sequence[str] | None) -> set[str] | None:
    return {types} if isinstance(types, str) else None if types is None else set(types)


def _enumerated(schema: JsonObject) -> set[str] | None:
    values = schema.get("enum", [schema["const"]] if "const" in schema else None)
    return None if values is None else {str(value) for value in values}


def _rest(old: JsonObject, new: JsonObject, place: str) -> Iterator[str]:
    """Bounds, defaults, and all that is not known here."""
    compared = {"type", "enum", "const", "properties", "required", "items", "prefixItems", "additionalProperties"}
    for keyword in sorted((old.keys() | new.keys()) - compared - _SAYS_NOTHING):
        before, after = old.get(keyword, _UNSET), new.get(keyword, _UNSET)
        if before == after:
            continue
        if keyword in _LEAST or keyword in _MOST:
            sign = 1 if keyword in _LEAST else -1
            wider = after is _UNSET or (before is not _UNSET and sign * after < sign * before)
            yield from _bounded(wider, f"{place} ({keyword})")
        elif keyword == "default":
            yield f"{place}: its default is another one: what was written without it would mean something else"
        else:
            yield f"{place}: its {keyword} is another one: {_OLDER}, or {_READERS}"


def _bounded(wider: bool, place: str) -> Iterator[str]:
    yield f"{place}: is wider: {_READERS}" if wider else f"{place}: is narrower: {_OLDER}"
