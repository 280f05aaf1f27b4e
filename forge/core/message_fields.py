"""Whether what JSON holds is what a field of a message takes."""

from types import NoneType, UnionType
from typing import Any, get_args, get_origin

MOST = 2**63 - 1
"""Numbers beyond that are no seconds, bytes or pids of anybody's."""


def fits(value: Any, accepted: Any) -> bool:
    """Say whether a value of JSON is of the type that a field is annotated with."""
    if isinstance(accepted, UnionType):
        return any(fits(value, option) for option in get_args(accepted))
    origin = get_origin(accepted)
    if origin is list:
        (item,) = get_args(accepted)
        return isinstance(value, list) and all(fits(one, item) for one in value)
    if origin is dict:
        _, item = get_args(accepted)
        return isinstance(value, dict) and all(fits(one, item) for one in value.values())
    if accepted is int:
        return _is_number(value, int)
    if accepted is float:
        return _is_number(value, int | float)
    if accepted is NoneType:
        return value is None
    return isinstance(value, accepted)


def _is_number(value: Any, accepted: Any) -> bool:
    """Say whether it is a number that can be reckoned with: JSON knows NaN and 1e999 as well."""
    is_number = isinstance(value, accepted) and not isinstance(value, bool)
    return is_number and -MOST <= value <= MOST
