"""The shim in use: the latest build behind one name that stays.

RUSTC_WRAPPER's path outlives the build that was given it, in the environment of programs that
`cargo run` started and in cargo's `.rustc_info.json`, which is thrown away when that path changes.
So builds of the shim are reached through `<cache_dir>/gates`, a link that is moved in one step.
"""

import os
from collections.abc import Mapping
from pathlib import Path

from forge.core.shim import Shim
from forge.errors import ShimUnavailable
from forge.host.shim_build import build_shim
from forge.paths import GATES_LINK_NAME as LINK_NAME

__all__ = ["LINK_NAME", "current_shim"]


def current_shim(cache_dir: Path, env: Mapping[str, str]) -> Shim:
    """Return the shim for this source and toolchain, compiled first if need be.

    Raises ShimUnavailable.
    """
    built = build_shim(cache_dir, env)
    link = cache_dir / LINK_NAME
    try:
        (built.root / "linkers").mkdir(mode=0o700, exist_ok=True)
        _point(link, built.root)
    except OSError as error:
        raise ShimUnavailable(f"{link} cannot be made: {error.strerror}") from None
    gates = link / "gate"
    return Shim(
        key=built.key,
        rustc_gate=str(gates / "rustc-gate"),
        linker_dir=str(link / "linkers"),
        test_gate=str(gates / "test-gate"),
        host=built.host,
    )


def _point(link: Path, root: Path) -> None:
    wanted = os.path.relpath(root, link.parent)
    if os.path.islink(link) and os.readlink(link) == wanted:
        return
    draft = link.with_name(f".{link.name}-{os.getpid()}")
    draft.unlink(missing_ok=True)
    draft.symlink_to(wanted)
    draft.replace(link)
