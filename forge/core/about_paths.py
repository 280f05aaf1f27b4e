"""Whose is a path, and why is it still there? The question of `forge target why` and `show`."""

import os
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

from forge.core import messages
from forge.core.actions import Action, Send
from forge.core.moment import Moment
from forge.core.report import target_dir_report
from forge.core.target_dirs import TMP_NAME, TargetDir
from forge.core.target_parts import parts_report
from forge.core.units import plural, show_bytes, show_duration
from forge.core.workspace import target_dir_name

if TYPE_CHECKING:
    from forge.core.state import State


class AboutPaths:
    """Answers from what is known; nothing is looked up."""

    def __init__(self, state: "State") -> None:
        self._state = state

    def ask(self, conn: int, message: messages.AboutPath, now: Moment) -> list[Action]:
        """Answer."""
        target_dir, why = self._about(os.path.normpath(message.path), now)
        told = self._report(target_dir, now) if target_dir else None
        return [Send(conn, {"type": "about", "path": message.path, "target_dir": told, "why": why})]

    def _about(self, path: str, now: Moment) -> tuple[TargetDir | None, list[str]]:
        top = self._state.mount_point()
        if top and (path == top or path.startswith(f"{top}/")):
            return self._on_disk(path, top, now)
        return self._in_project(path, now)

    def _on_disk(self, path: str, top: str, now: Moment) -> tuple[TargetDir | None, list[str]]:
        name, _, below = path[len(top) + 1 :].partition("/")
        if not name:
            return None, ["it is the RAM disk itself: `forge disk status`"]
        if name == TMP_NAME:
            build = below.partition("-")[0]
            if build in self._state.builds:
                return None, [f"it holds temporary files of {build}, which runs"]
            return None, ["it holds temporary files of builds; they go when their builds are over"]
        if name.startswith("."):
            return None, ["it is Forge's own: by it the RAM disk is known"]
        target_dir = self._state.target_dirs.get(f"{top}/{name}")
        if target_dir is None:
            return None, ["no target dir of that name is on the RAM disk"]
        return target_dir, self._why(target_dir, now)

    def _in_project(self, path: str, now: Moment) -> tuple[TargetDir | None, list[str]]:
        found = [
            one
            for one in self._state.target_dirs.values()
            if one.root and (path == one.root or path.startswith(f"{one.root}/"))
        ]
        if not found:
            return None, ["it is neither on the RAM disk nor in a project that has a part there"]
        target_dir = max(found, key=lambda one: len(one.root or ""))
        return target_dir, self._why(target_dir, now)

    def _why(self, one: TargetDir, now: Moment) -> list[str]:
        lines = [self._whose(one)]
        if one.last:
            last = one.last
            ago = show_duration(max(0.0, now.wall_s - one.last_used_at))
            lines.append(
                f"{last.build} (`cargo {last.verb}`, {last.profile}, {last.priority}, by"
                f" {last.who}) used it {ago} ago; {plural(one.builds, 'build')} so far"
            )
        users = [b.id for b in self._state.builds.values() if b.target_dir == one.path]
        if users:
            lines.append(f"it stays: {', '.join(users)} builds in it")
        elif self._state.target_modes.of(one.root) == "build-dir":
            lines.append("it holds what lies between; the project's own `target` has the results")
        usage = self._state.disk.usage
        if not users and usage:
            lines.append(
                f"it stays until its room is needed: {show_bytes(usage.free_bytes)} of"
                f" {show_bytes(usage.total_bytes)} are free"
            )
        return lines

    def _whose(self, one: TargetDir) -> str:
        if one.root is None:
            return f"{one.path} is nobody's: Forge has not made it, or it was renamed"
        name = os.path.basename(one.path)
        renamed = "" if name == target_dir_name(one.root) else ", under another name"
        return f"{one.path} is the target dir of {one.root}{renamed}"

    def _report(self, one: TargetDir, now: Moment) -> dict[str, Any]:
        users = [b.id for b in self._state.builds.values() if b.target_dir == one.path]
        return {
            **target_dir_report(one, users, now),
            "mode": self._state.target_modes.of(one.root),
            "last": asdict(one.last) if one.last else None,
            **(parts_report(one.parts) if one.parts else {"parts": [], "toolchains": []}),
        }
