"""Record a real cold build as a unit graph: `python -m tests.sim.record NAME OUT.json -- cargo …`.

Run it in a project with an empty target dir. A unit's cost is the processor time of its rustc and
whatever that started (linkers), which does not depend on how loaded the recording machine is. Edges
are what cargo really passed with `--extern`: an .rmeta lets the dependent start when the metadata
is written, not when the code is, so each unit has the fraction of its time after which its metadata
was there. A build script's own run is no rustc and is left out; what needs its output waits for its
compilation. Names of crates and hashes of cargo's are all that is written: no path, no host.
"""

import json
import os
import re
import resource
import stat
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any


def record_unit(argv: list[str]) -> int:
    """Be RUSTC_WRAPPER: run one rustc and append what it cost to $SIM_RECORD."""
    started = time.time()
    code = subprocess.run(argv, check=False, close_fds=False).returncode
    ended = time.time()
    emitted = _value(argv, "--emit")
    name = _value(argv, "--crate-name")
    if code or not emitted or name in (None, "___"):
        return code
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    extra = next((a.split("=", 1)[1] for a in argv if a.startswith("extra-filename=")), "")
    metadata = Path(_value(argv, "--out-dir") or ".") / f"lib{name}{extra}.rmeta"
    early = 1.0
    if metadata.exists():
        early = (metadata.stat().st_mtime - started) / max(ended - started, 1e-6)
    kinds = [argv[i + 1] for i, a in enumerate(argv) if a == "--crate-type"]
    is_run = "--test" in argv or bool({"bin", "proc-macro", "cdylib", "dylib"} & set(kinds))
    row = {
        "key": name + extra,
        "package": os.environ.get("CARGO_PKG_NAME", ""),
        "is_script": name.startswith("build_script_"),
        "has_script": "OUT_DIR" in os.environ,
        "externs": _externs(argv),
        "cpu_s": round(used.ru_utime + used.ru_stime, 3),
        "wall_s": round(ended - started, 3),
        "early": round(min(1.0, max(0.0, early)), 3),
        "peak_mib": round(used.ru_maxrss / 1024),
        "links": is_run and "link" in emitted.split(","),
    }
    with open(os.environ["SIM_RECORD"], "a") as out:
        out.write(json.dumps(row) + "\n")
    return code


def _value(argv: list[str], name: str) -> str | None:
    for i, word in enumerate(argv):
        if word == name and i + 1 < len(argv):
            return argv[i + 1]
        if word.startswith(name + "="):
            return word[len(name) + 1 :]
    return None


def _externs(argv: list[str]) -> list[list[str]]:
    found = []
    for i, word in enumerate(argv[:-1]):
        if word == "--extern" and "=" in argv[i + 1]:
            match = re.fullmatch(r"lib(.+)\.(rmeta|rlib|so|dylib)", os.path.basename(argv[i + 1]))
            if match:
                found.append([match[1], match[2]])
    return found


def compact(name: str, rows: list[dict[str, Any]]) -> dict[str, Any]:
    """Number the units in the order in which they ended, and turn names into edges."""
    index = {row["key"]: i for i, row in enumerate(rows)}
    scripts = {row["package"]: i for i, row in enumerate(rows) if row["is_script"]}
    units = []
    for i, row in enumerate(rows):
        needs = {index[key]: kind == "rmeta" for key, kind in row["externs"] if key in index}
        if row["has_script"] and row["package"] in scripts and not row["is_script"]:
            needs[scripts[row["package"]]] = False
        needs.pop(i, None)
        # Edges: the unit's number; negative and less one where its metadata is enough.
        edges = [-n - 1 if early else n for n, early in sorted(needs.items())]
        crate = row["key"].rsplit("-", 1)[0]
        units.append([crate, row["cpu_s"], row["early"], row["peak_mib"], int(row["links"]), edges])
    return {"name": name, "columns": COLUMNS, "units": units}


COLUMNS = ["crate", "cpu_s", "metadata_after", "peak_mib", "links", "needs"]


def main() -> int:
    """Record one build, or be the wrapper of one rustc in it."""
    if "SIM_RECORD" in os.environ:
        return record_unit(sys.argv[1:])
    name, out, dashes, *command = sys.argv[1:]
    assert dashes == "--", "usage: python -m tests.sim.record NAME OUT.json -- cargo …"
    with tempfile.TemporaryDirectory() as scratch:
        rows, wrapper = Path(scratch) / "rows", Path(scratch) / "wrapper"
        wrapper.write_text(f'#!/bin/sh\nexec {sys.executable} -I -S {__file__} "$@"\n')
        wrapper.chmod(wrapper.stat().st_mode | stat.S_IXUSR)
        env = os.environ | {"RUSTC_WRAPPER": str(wrapper), "SIM_RECORD": str(rows)}
        subprocess.run(command, env=env, check=True)
        units = [json.loads(line) for line in rows.read_text().splitlines()]
    recorded = compact(name, units)
    lines = ",\n".join(json.dumps(unit, separators=(",", ":")) for unit in recorded.pop("units"))
    head = json.dumps(recorded, separators=(",", ":"))[:-1]
    Path(out).write_text(f'{head},"units":[\n{lines}\n]}}\n')
    return 0


if __name__ == "__main__":
    sys.exit(main())
