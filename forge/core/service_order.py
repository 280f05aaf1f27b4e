"""In which order services are started: each after those that it names in `after`."""

from collections.abc import Iterable, Mapping
from graphlib import CycleError, TopologicalSorter

from forge.core.service import Service


def check_order(services: Mapping[str, Service]) -> None:
    """Raise ValueError when a service is after one that is not declared, or after itself."""
    for service in services.values():
        for name in service.after:
            if name not in services:
                raise ValueError(
                    f"`services.{service.name}` is after `{name}`, which is declared nowhere"
                )
    try:
        tuple(_sorter(services).static_order())
    except CycleError as error:
        circle = " -> ".join(reversed(error.args[1]))
        raise ValueError(f"services wait for each other: {circle}") from None


def in_order(services: Mapping[str, Service], wanted: Iterable[str] = ()) -> list[Service]:
    """Return the wanted services and all that they are after, in the order of starting.

    None wanted: all. Services that nothing orders keep the order of the file. Raises KeyError with
    the name that is not declared.
    """
    names = list(wanted) or list(services)
    needed: set[str] = set()
    while names:
        name = names.pop()
        if name not in needed:
            needed.add(name)
            names += services[name].after
    done: list[Service] = []
    sorter = _sorter(services)
    sorter.prepare()
    place = {name: number for number, name in enumerate(services)}
    while sorter.is_active():
        for name in sorted(sorter.get_ready(), key=lambda one: place[one]):
            done.append(services[name])
            sorter.done(name)
    return [service for service in done if service.name in needed]


def in_reverse(services: Mapping[str, Service], wanted: Iterable[str] = ()) -> list[Service]:
    """Return the wanted services and all that are after them, in the order of stopping."""
    names = set(wanted) or set(services)
    for name in names:
        services[name]  # KeyError with the name
    ordered = in_order(services)
    for service in ordered:
        if names & set(service.after):
            names.add(service.name)
    return [service for service in reversed(ordered) if service.name in names]


def _sorter(services: Mapping[str, Service]) -> TopologicalSorter[str]:
    return TopologicalSorter({name: service.after for name, service in services.items()})
