"""A simulated macOS: its tools as programs on PATH, its /Volumes as a directory.

    with SimulatedMac(tmp_path) as mac:
        mac.fault("hdiutil.attach", late_s=0.5)
        subprocess.run(["hdiutil", "info"], env=mac.env)

Names of faults are `program.verb`, without a verb just `program`. A fault holds for `times` calls
(None: for ever) and may carry:

delay_s       sleep, then work
delay_after_s work, then sleep before answering
late_s        a detached helper does the work so much later, even when its caller is gone
holds_pipe_s  a child keeps stdout open so long after the program has ended
fails         fail with this text (and `exit_code`)
says          print this and exit with `exit_code`, without doing anything
busy          (pid, program): detach exits 16, unmounting is dissented by that process
unmounts      with busy: the volumes are unmounted, and only the eject is refused
hides_images  `hdiutil info` lists nothing
pends         `launchctl kickstart` starts nothing, as over SSH without a session at the screen
"""

import os
import sys
from collections.abc import Sequence
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from tests.macos.programs import PROGRAMS
from tests.macos.world import DEFAULT_SYSCTLS, World, load, save

REPOSITORY = Path(__file__).resolve().parents[2]
LAUNCHER = """#!{python} -IS
import sys

sys.path.insert(0, {repository!r})
from tests.macos.programs import main

sys.exit(main({program!r}))
"""


class SimulatedMac:
    """One simulated machine in a directory of its own; `close` leaves nothing mounted."""

    def __init__(self, parent: Path) -> None:
        self.home = parent / "simulated-mac"
        self.home.mkdir()
        self.world = World(str(self.home))
        self.volumes_root.mkdir()
        self._faults = str(self.home / "faults")
        self.world.write(
            {
                "images": [],
                "serial": 1,
                "shows_owner": True,
                "in_kernel": "refused",
                "sysctls": dict(DEFAULT_SYSCTLS),
                "vm_pages": {},
                "services": {},
            }
        )
        self.clear_faults()
        (self.home / "calls").touch()
        bin_dir = self.home / "bin"
        bin_dir.mkdir()
        for program in PROGRAMS:
            path = bin_dir / program
            path.write_text(
                LAUNCHER.format(python=sys.executable, repository=str(REPOSITORY), program=program)
            )
            path.chmod(0o755)
        self.env: dict[str, str] = {
            **os.environ,
            "PATH": f"{bin_dir}{os.pathsep}{os.environ['PATH']}",
            "FORGE_SIM_MACOS": str(self.home),
            "FORGE_PLATFORM": "darwin",
            "FORGE_VOLUMES_ROOT": str(self.volumes_root),
        }

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    @property
    def volumes_root(self) -> Path:
        """The directory that stands for /Volumes."""
        return Path(self.world.volumes_root)

    def close(self) -> None:
        """Unmount everything; programs that are still running do nothing more."""
        self.world.close()

    def fault(
        self,
        name: str,
        *,
        times: int | None = 1,
        delay_s: float = 0,
        delay_after_s: float = 0,
        late_s: float | None = None,
        holds_pipe_s: float = 0,
        fails: str = "",
        says: str | None = None,
        exit_code: int = 1,
        busy: tuple[int, str] | None = None,
        unmounts: bool = False,
        hides_images: bool = False,
        pends: bool = False,
    ) -> None:
        """Let the next `times` calls of `name` meet a fault; faults of one name queue up."""
        fault: dict[str, Any] = dict(locals())
        del fault["self"]
        with self.world.locked("faults"):
            save(self._faults, [*load(self._faults), fault])

    def clear_faults(self) -> None:
        """Let everything work again."""
        with self.world.locked("faults"):
            save(self._faults, [])

    def images(self) -> list[dict[str, Any]]:
        """List what is attached: path, sectors, uid, pid, disk, container, volumes."""
        return list(self.world.read()["images"])

    def calls(self, name: str = "") -> list[list[str]]:
        """List the arguments of all calls so far whose name begins with `name`."""
        return [argv for called, argv in self.world.calls() if called.startswith(name)]

    def set_sysctl(self, name: str, value: str) -> None:
        """Let sysctl answer `value`."""
        with self.world.changing() as state:
            state["sysctls"][name] = value

    def set_vm_pages(self, **pages: int) -> None:
        """Change lines of vm_stat, as in `Swapouts=12`."""
        with self.world.changing() as state:
            state["vm_pages"].update(pages)

    def hide_owners(self) -> None:
        """Leave owner-uid and hdid-pid out of `hdiutil info -plist`."""
        with self.world.changing() as state:
            state["shows_owner"] = False

    def keep_in_kernel(self, how: str) -> None:
        """Let `hdiutil attach -kernel` be `refused`, `ignored`, `wired`, or `pageable` after all.

        Without this call it is refused, as for a user without privileges.
        """
        with self.world.changing() as state:
            state["in_kernel"] = how

    def reboot(self) -> None:
        """Lose all images, as a restart does, and begin a new boot."""
        with self.world.changing() as state:
            for image in list(state["images"]):
                self.world.detach(state, image, force=True)
            state["sysctls"]["kern.bootsessionuuid"] = f"boot-{state['serial']}"
            state["serial"] += 1

    def attach_stranger(
        self, *, size_mib: int = 8, volume: str | None = None, path: str | None = None, uid: int = 0
    ) -> dict[str, Any]:
        """Attach an image that is not Forge's; a ram:// one unless `path` is given."""
        with self.world.changing() as state:
            sectors = size_mib * 2048
            image = self.world.attach(state, path or f"ram://{sectors}", sectors, uid)
            if volume is not None:
                self.world.add_container(state, image)
                self.world.mount(self.world.add_volume(state, image, volume))
            return dict(image)

    def vanish(self, disk: int) -> None:
        """Take an image away behind everyone's back."""
        with self.world.changing() as state:
            for image in [one for one in state["images"] if one["disk"] == disk]:
                self.world.detach(state, image, force=True)

    def mounted(self) -> Sequence[str]:
        """List the mount points, sorted."""
        places = [one["mount_point"] for image in self.images() for one in image["volumes"]]
        return sorted(place for place in places if place)
