"""The native shim as a value: where its names are."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Shim:
    """A shim that can be used. All are absolute paths.

    `rustc_gate` is what RUSTC_WRAPPER is set to, `linker_dir` the private directory in which the
    linker gate appears under the names of real linkers, `test_gate` the runner of tests. `host` is
    the target triple that the toolchain compiles for unasked.
    """

    key: str
    rustc_gate: str
    linker_dir: str
    test_gate: str
    host: str
