"""Builds over ssh, beside what one would do without Forge: `python -m tests.bench.ssh`.

A real sshd on loopback; with `--delay-ms 20` behind a line on which every answer takes that much
longer (tests/bench/slow_line.py), ssh's own handshake included. `ssh cargo` is the same cargo in
the same tree, `rsync` the way of cargo-remote: rsync there, build, rsync the target dir back.
"""

import argparse
import json
import os
import shlex
import shutil
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from forge.client.remote import hello
from forge.client.remote_checkout import Checkouts, checkout_of
from forge.client.remote_files import Rules
from forge.client.remote_link import Link
from forge.client.remote_ssh import start_ssh
from forge.client.remote_sync import Sync
from forge.core.remote_frames import FrameType, encode
from forge.core.remote_messages import Welcome
from tests.bench.measure import machine, print_table, quartiles, timed
from tests.bench.slow_line import SlowLine
from tests.scenarios.conftest import clean_env, registry_source
from tests.scenarios.remote_pair import Pair, git, open_pair, take_apart
from tests.scenarios.sshd import HOST, make_key
from tests.scenarios.test_build_workspace import RIPGREP

Figures = dict[str, list[float]]


def main() -> None:
    """Measure and print."""
    args = arguments()
    before = machine()
    place = Path(tempfile.mkdtemp(prefix="ossh", dir="/tmp"))
    pair = open_pair(place / "cache")
    try:
        if args.delay_ms:
            delay(pair, args.delay_ms)
        figures = Bench(pair, place, args.rounds).run()
    finally:
        take_apart(pair)
        shutil.rmtree(place, ignore_errors=True)
    print(f"with {args.delay_ms} ms for a round trip:\n")
    rows = []
    for name, values in figures.items():
        low, middle, high = quartiles(values)
        rows.append([name, f"{middle:.3f}", f"{low:.3f} to {high:.3f}", f"{len(values)}"])
    print_table(["what", "median, s", "middle half, s", "runs"], rows)
    print(
        f"\n{before['system']}, {before['cores']} cores, load {before['load'][0]} before,", end=" "
    )
    print(f"{machine()['load'][0]} after")
    if args.json:
        whole = {"machine": before, "delay_ms": args.delay_ms, "raw": figures}
        args.json.write_text(json.dumps(whole, indent=1) + "\n")


def arguments() -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=5, help="default 5")
    parser.add_argument("--delay-ms", type=int, default=0, help="of a round trip; default 0")
    parser.add_argument("--json", type=Path, help="write the raw figures to this file")
    return parser.parse_args()


def delay(pair: Pair, delay_ms: int) -> None:
    """Let the client reach the host over a slow line, for as long as we run."""
    line = SlowLine(pair.sshd.port, delay_ms / 2000)
    for file in (pair.sshd.home / "config", pair.sshd.home / "known_hosts"):
        file.write_text(file.read_text().replace(str(pair.sshd.port), str(line.port)))


class Bench:
    """One machine that is client and host."""

    def __init__(self, pair: Pair, place: Path, rounds: int) -> None:
        self._pair, self._place, self._rounds = pair, place, rounds
        self._source = registry_source("ripgrep", place, f"={RIPGREP}")
        self._forge = str(Path(sys.executable).parent / "forge")
        make_key(pair.sshd.home / "plain")
        public = (pair.sshd.home / "plain.pub").read_text()
        with pair.sshd.authorized_keys.open("a") as keys:
            keys.write(public)
        config = (pair.sshd.home / "config").read_text().replace("/laptop", "/plain")
        (pair.sshd.home / "plain-config").write_text(config)  # the same host, with a key for logins
        self._ssh = (shutil.which("ssh") or "ssh", "-F", str(pair.sshd.home / "plain-config"))

    def run(self) -> Figures:
        """Measure everything."""
        return {**self._builds(), **self._syncs()}

    def _builds(self) -> Figures:
        project = self._copy("ripgrep")
        forge = (self._forge, "build", "--on", HOST)
        self._timed(forge, project)
        tree = self._root_on_host(project)
        there = self._place / "there"
        rsync = ("rsync", "-az", "--delete", "-e", shlex.join(self._ssh), "--exclude=/target")
        send = (*rsync, f"{project}/", f"{HOST}:{there}/")
        fetch = (*rsync[:-1], f"{HOST}:{there}/target/", f"{self._place}/back/")
        beside = self._cargo(tree, self._place / "beside")
        figures: Figures = {}

        def by_rsync() -> float:
            took_s = self._timed(send, project)
            took_s += self._timed(self._cargo(there, there / "target"), project)
            return took_s + self._timed(fetch, project)

        ways: dict[str, Callable[[], float]] = {
            "`ssh cargo build`": lambda: self._timed(beside, project),
            "`forge build --on`": lambda: self._timed(forge, project),
            "rsync, ssh cargo build, rsync back": by_rsync,
        }
        for way in ways.values():
            way()
        for turn in range(self._rounds):
            for name, way in ways.items():
                figures.setdefault(f"nothing changed: {name}", []).append(way())
            with (project / "crates" / "core" / "main.rs").open("a") as file:
                file.write(f"// {turn}\n")
            for name, way in reversed(ways.items()):  # forge sends before ssh builds the same
                figures.setdefault(f"one file changed: {name}", []).append(way())
        return figures

    def _syncs(self) -> Figures:
        figures: Figures = {}
        many = self._tree("many", files=5000, size=20 * 1024)
        for turn in range(self._rounds):
            other = self._place / f"many{turn}"
            shutil.copytree(many, other)
            target = f"{HOST}:{self._place}/copy{turn}/"
            rsync = ("rsync", "-az", "-e", shlex.join(self._ssh), f"{other}/", target)
            figures.setdefault("first sync, 5,000 files, 100 MiB: rsync -az", []).append(
                self._timed(rsync, other)
            )
            figures.setdefault("first sync, 5,000 files, 100 MiB: forge", []).append(
                self._synced(other)
            )
            shutil.rmtree(other)
            shutil.rmtree(self._place / f"copy{turn}")
        still = self._tree("still", files=50_000, size=200)
        git("init", "-q", cwd=still)
        git("add", "-A", cwd=still)
        self._synced(still)
        for _ in range(self._rounds):
            figures.setdefault("nothing changed in 50,000 files: forge", []).append(
                self._synced(still)
            )
        return figures

    def _root_on_host(self, project: Path) -> Path:
        env = self._pair.env
        return Path(Checkouts(checkout_of(os.path.realpath(project), env), env).root_on(HOST))

    def _copy(self, name: str) -> Path:
        copy = Path(shutil.copytree(self._source, self._place / name / "p"))
        git("init", "-q", cwd=copy)
        return copy

    def _tree(self, name: str, *, files: int, size: int) -> Path:
        """Make a package of many files that compress as sources do, and differ."""
        top = self._place / name
        text = (self._source / "crates" / "core" / "main.rs").read_bytes() * (size // 4000 + 1)
        for number in range(files):
            place = top / f"d{number // 100}"
            place.mkdir(parents=True, exist_ok=True)
            at = number * 37 % 4000
            (place / f"f{number}.rs").write_bytes(b"// %d\n" % number + text[at : at + size])
        (top / "src").mkdir()
        (top / "src" / "lib.rs").touch()
        (top / "Cargo.toml").write_text(f'[package]\nname = "{name}"\nversion = "0.1.0"\n')
        return top

    def _synced(self, root: Path) -> float:
        """Return how long it takes from nothing to the host's READY."""
        before = time.perf_counter()
        env = self._pair.env
        link = Link(start_ssh(HOST, env), HOST)
        checkouts = Checkouts(checkout_of(os.path.realpath(root), env), env)
        tree = checkouts.look(Rules())
        sync = Sync(link, checkouts, tree, HOST, lambda sent, total: None)
        link.send(hello())
        link.send_all(sync.opening())
        link.expect(Welcome)
        sync.finish()
        took_s = time.perf_counter() - before
        os.close(tree.top)
        link.send_bytes(encode(FrameType.BYE))
        link.close()
        return took_s

    def _cargo(self, tree: Path, target_dir: Path) -> tuple[str, ...]:
        cargo = shutil.which("cargo", path=clean_env()["PATH"])
        said = f"cd {tree} && CARGO_TARGET_DIR={target_dir} {cargo} build"
        return (*self._ssh, HOST, said)

    def _timed(self, command: tuple[str, ...], cwd: Path) -> float:
        env: dict[str, Any] = dict(self._pair.env)
        return timed(command, cwd, env)


if __name__ == "__main__":
    main()
