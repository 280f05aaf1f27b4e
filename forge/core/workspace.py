"""Which directory on the RAM disk belongs to which checkout.

The key is the canonical workspace root: two worktrees of one repository never share a target dir,
because cargo would then silently run one checkout's code for the other (rust-lang/cargo#17312).
"""

import hashlib
import os
import re
from collections.abc import Mapping
from dataclasses import dataclass, field

HASH_HEX_DIGITS = 12
_NAME_CHARS = 40


@dataclass(frozen=True, slots=True)
class TargetRunner:
    """What is to run a target's programs: its words, the program first, as cargo would run it.

    No words: cargo refuses what is written. `is_list` tells in which of TOML's two forms it is,
    `by_option` that a `--config` sets it.
    """

    words: tuple[str, ...]
    is_list: bool = True
    by_option: bool = False


@dataclass(frozen=True, slots=True)
class CargoConfig:
    """What cargo's own configuration says that bears on a build; `--config`, then the nearest file.

    `target_dir` is build.target-dir as written and `target_dir_file` the file that has it;
    `target_dir_by_option` tells that a `--config` sets it. `jobs` is build.jobs; `rustc_wrapper` is
    build.rustc-wrapper as cargo would run it; `targets` is build.target. `runners` are those of
    targets by their names; `hides_runner`: there may be one that is not among them.
    """

    target_dir: str | None = None
    target_dir_file: str | None = None
    target_dir_by_option: bool = False
    jobs: int | None = None
    rustc_wrapper: str | None = None
    targets: tuple[str, ...] = ()
    runners: Mapping[str, TargetRunner] = field(default_factory=dict)
    hides_runner: bool = False


@dataclass(frozen=True, slots=True)
class Workspace:
    """Where a command line stands: its canonical workspace root and cargo's configuration there.

    `root` None: it is outside any workspace, and `outside` says why. `argv` is the command line
    with its alias expanded, None when there was none; `base` is where cargo runs: cwd, then `-C`.
    """

    root: str | None
    argv: tuple[str, ...] | None = None
    base: str = "/"
    config: CargoConfig = field(default_factory=CargoConfig)
    outside: str = ""


def is_target_dir_name(name: str) -> bool:
    """Say whether it is a name as `target_dir_name` gives them."""
    return re.fullmatch(rf"[A-Za-z0-9._-]+-[0-9a-f]{{{HASH_HEX_DIGITS}}}", name) is not None


def target_dir_name(root: str) -> str:
    """Name the target dir of a canonical root: `<project>-<hash>`, in plain ASCII.

    Build scripts hand this path to make, cmake and shells, so no blank and no other surprise of the
    project's own name gets into it; the hash of the root's bytes tells the projects apart.
    """
    digest = hashlib.sha256(os.fsencode(root)).hexdigest()[:HASH_HEX_DIGITS]
    name = re.sub(r"[^A-Za-z0-9._-]+", "_", os.path.basename(root)).strip("._-")[:_NAME_CHARS]
    return f"{name or 'project'}-{digest}"
