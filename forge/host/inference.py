"""Looks at inference servers: what each answers, the process behind its port, what it will need.

A look waits for each server for half a second at most. What hardly ever changes, as who holds the
port, its command line and what follows from it, is kept as long as it is the same process.
"""

import time
from collections.abc import Sequence
from dataclasses import replace

from forge.core.inference_plan import InferencePlan
from forge.core.inference_seen import Answer, Served, ServerProcess, ServerSeen
from forge.core.inference_settings import ServerSpec
from forge.errors import ForgeError
from forge.host.gguf import KnownModels, other_parts
from forge.host.http_get import Address
from forge.host.inference_files import plan_command_line
from forge.host.llama import LlamaServer
from forge.host.server_processes import Holder, ServerProcesses, open_server_processes

_SLEEPS = "--sleep-idle-seconds"
_SLEEPS_ENV = "LLAMA_ARG_SLEEP_IDLE_SECONDS"


class InferenceWatcher:
    """All servers that are looked at. One thread looks at a time."""

    def __init__(self, processes: ServerProcesses | None = None) -> None:
        self._processes = processes
        self._watched: dict[ServerSpec, _Watched] = {}
        self._models = KnownModels()

    def look(self, servers: Sequence[ServerSpec], *, deep: bool) -> tuple[ServerSeen, ...]:
        """Look at servers, one after another; at how much of their models is resident if `deep`.

        Such a look costs milliseconds, the others less than one.
        """
        for spec in [spec for spec in self._watched if spec not in servers]:
            self._watched.pop(spec).close()
        return tuple(self._of(spec).look(deep=deep) for spec in servers)

    def close(self) -> None:
        """Give up all requests that wait."""
        for one in self._watched.values():
            one.close()
        self._watched.clear()

    def _of(self, spec: ServerSpec) -> "_Watched":
        if self._processes is None:
            self._processes = open_server_processes()
        if spec not in self._watched:
            self._watched[spec] = _Watched(spec, self._processes, self._models)
        return self._watched[spec]


class _Watched:
    """One server. Invariant: a plan is that of the process that is held."""

    def __init__(self, spec: ServerSpec, processes: ServerProcesses, models: KnownModels) -> None:
        self._spec = spec
        self._address = Address.of(spec.url)
        self._processes = processes
        self._known_models = models
        self._server = LlamaServer(spec)
        self._holder: Holder | None = None
        self._no_holder = ""
        self._plan: InferencePlan | None = None
        self._no_plan = ""

    def look(self, *, deep: bool) -> ServerSeen:
        """See that it is still the same, ask it, and look at its process."""
        at_s = time.monotonic()
        if self._holder and not self._processes.still_holds(self._holder):
            self._let_go()
            self._server.forget()  # what it is was told by another
        served = self._server.look(sleeps=self._sleeps())
        if served.answer in (Answer.NONE, Answer.STRANGER):
            self._let_go()
            return ServerSeen(self._spec.name, self._spec.url, at_s, served)
        self._hold(deep=deep)
        if self._holder and self._plan is None and (deep or not self._no_plan):
            self._reckon(self._holder)
        process = self._measure(deep=deep)
        return ServerSeen(
            self._spec.name,
            self._spec.url,
            at_s,
            self._with_context(served),
            process,
            self._plan.need if self._plan else None,
            "" if process else self._no_holder,
            "" if self._plan else self._no_plan or "its command line is not known",
        )

    def close(self) -> None:
        """Give up what waits."""
        self._server.close()

    def _hold(self, *, deep: bool) -> None:
        """Find the process, if it is not known. One that could not be found is sought seldom."""
        if self._holder is None and (deep or not self._no_holder):
            found = self._processes.find(self._address)
            if isinstance(found, Holder):
                self._holder, self._no_holder = found, ""
            else:
                self._no_holder = found

    def _let_go(self) -> None:
        self._holder = self._plan = None
        self._no_holder = self._no_plan = ""

    def _reckon(self, holder: Holder) -> None:
        if holder.argv is None:
            self._no_plan = "its command line is not ours to see"
            return
        try:
            self._plan = plan_command_line(
                holder.argv, holder.env, holder.directory, models=self._known_models
            )
            self._no_plan = ""
        except ForgeError as error:
            self._no_plan = error.message

    def _measure(self, *, deep: bool) -> ServerProcess | None:
        if self._holder is None:
            return None
        paths = _paths(self._plan) if self._plan and deep else ()
        return self._processes.measure(self._holder, paths, deep=deep)

    def _with_context(self, served: Served) -> Served:
        """Say how much context there is in all: slots do not tell whether they share it."""
        slots = served.slots
        if not slots:
            return served
        shares = self._plan.cells.is_shared if self._plan else None if len(slots) > 1 else False
        if shares is None:
            return served
        each = [one.context_tokens for one in slots]
        return replace(
            served, shares_context=shares, context_tokens=max(each) if shares else sum(each)
        )

    def _sleeps(self) -> bool | None:
        """Say whether it is told to sleep when it is idle; None when nobody knows."""
        holder = self._holder
        if holder is None or holder.argv is None:
            return None
        return _SLEEPS_ENV in holder.env or any(word.startswith(_SLEEPS) for word in holder.argv)


def _paths(plan: InferencePlan) -> tuple[str, ...]:
    firsts = [one.path for one in (plan.model, plan.draft) if one]
    return tuple(path for first in firsts for path in (first, *other_parts(first)))
