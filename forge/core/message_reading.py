"""Reads lines as requests, checked field by field. The schemas are the classes themselves."""

from dataclasses import MISSING, fields
from typing import Any, get_type_hints

from forge.core import wire
from forge.core.message_fields import fits
from forge.core.messages import MESSAGES, Message


def read(line: bytes, *, first: bool) -> Message:
    """Read one line as a request; ValueError says what is wrong.

    `first` asks for the protocol version as well.
    """
    raw = wire.decode(line)
    if first and raw.get("v") != wire.VERSION:
        raise UnknownVersion(f"protocol version {raw.get('v')!r} is not known, {wire.VERSION} is")
    kind = MESSAGES.get(raw["type"])
    if kind is None:
        raise ValueError(f"there is no message `{raw['type'][:80]}`")
    return _build(kind, raw)


class UnknownVersion(ValueError):
    """The other end speaks another version of the protocol."""


def _build(kind: type[Message], raw: dict[str, Any]) -> Message:
    values: dict[str, Any] = {}
    for name, accepted in _schema(kind).items():
        if name not in raw:
            continue
        if not fits(raw[name], accepted):
            raise ValueError(f"`{kind.type_name}`: field `{name}` has the wrong type")
        values[name] = raw[name]
    missing = [
        one.name
        for one in fields(kind)
        if one.default is MISSING and one.default_factory is MISSING and one.name not in values
    ]
    if missing:
        raise ValueError(f"`{kind.type_name}`: field `{missing[0]}` is missing")
    return kind(**values)


_schemas: dict[type[Message], dict[str, Any]] = {}


def _schema(kind: type[Message]) -> dict[str, Any]:
    if kind not in _schemas:
        hints = get_type_hints(kind)
        _schemas[kind] = {one.name: hints[one.name] for one in fields(kind)}
    return _schemas[kind]
