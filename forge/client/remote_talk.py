"""What a remote build tells a person of itself: what stays, what is on its way, what runs."""

import os
import platform
from collections.abc import Mapping

from forge.client.remote_checkout import Tree
from forge.client.talk import WaitLine, say
from forge.core.remote_messages import Welcome
from forge.core.text import printable
from forge.core.units import plural, show_bytes

_SAME_MACHINE = {"aarch64": "arm64", "amd64": "x86_64", "AMD64": "x86_64"}
_SHOWN = 3


def say_choice(tree: Tree) -> None:
    """Say what stays here, unless nothing has changed since it was said."""
    if tree.lines is None:
        return
    if tree.choice.secrets:
        count = plural(len(tree.choice.secrets), "file")
        say(
            f"{count} stay here as secrets: {_some(tree.choice.secrets)}"
            " (`!PATTERN` in .forgeignore sends them)"
        )
    if tree.outside:
        count = plural(len(tree.outside), "symlink")
        say(f"{count} stay here, as they lead out of the tree: {_some(tree.outside)}")


def say_machine(host: str, welcome: Welcome, *, is_wanted: bool) -> None:
    """Say that what is built there will not run here, where it is to come here."""
    there, here = (welcome.system, welcome.machine), (platform.system(), platform.machine())
    if is_wanted and _known(there) != _known(here):
        say(
            f"`{host}` is {printable(' '.join(there))}, this is {' '.join(here)}:"
            " what it builds does not run here (`--target` builds for another machine)"
        )


class Sending:
    """Shows how much is sent, where that takes long enough to be seen."""

    def __init__(self, host: str, env: Mapping[str, str]) -> None:
        self._host, self._env = host, env
        self._line: WaitLine | None = None

    def progress(self, sent: int, total: int) -> None:
        """Take in how many bytes of how many are sent."""
        self._line = self._line or WaitLine(self._env)
        said = f"sending to `{self._host}`: {show_bytes(sent)} of {show_bytes(total)}"
        self._line.waits(said, 0.0)

    def is_over(self) -> None:
        """Leave the terminal as it was found."""
        if self._line:
            self._line.erase()


def _known(machine: tuple[str, str]) -> tuple[str, str]:
    return machine[0], _SAME_MACHINE.get(machine[1], machine[1])


def _some(found: list[bytes]) -> str:
    names = [f"`{printable(os.fsdecode(one))}`" for one in found[:_SHOWN]]
    return ", ".join(names) + (", …" if len(found) > _SHOWN else "")
