"""What it costs to look at a llama-server, us and the server: `python -m tests.bench.watching`.

Linux only. It takes the server that the tests run (tests/llama/server.py). First looks are counted
in processor time, ours and the server's, while the server is idle. Then it generates, by turns
watched at 4 Hz and left alone; which comes first changes from round to round.
"""

import statistics
import tempfile
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from forge.core.inference_settings import ServerSpec
from forge.host.inference import InferenceWatcher
from tests.bench.idle import cpu_s
from tests.bench.measure import arguments, machine, print_table, report
from tests.llama.models import TINY, write_model
from tests.llama.server import LlamaServer, llama_server

LOOKS = 400
DEEP_LOOKS = 20
EVERY_S = 0.25
MODEL_BYTES = 1 << 30
SMALL_BYTES = 48 << 20
TOKENS = 600
IDLE_EVERY_S, DEEP_IDLE_EVERY_S = 5.0, 30.0
GOAL_PERCENT = 0.1


def cost_of_looks(server: LlamaServer) -> dict[str, float]:
    """Return milliseconds of a processor for each look, and the shares of a core that follow."""
    watcher = InferenceWatcher()
    specs = [ServerSpec("ai-engine", server.url)]
    for deep in (True, False):
        watcher.look(specs, deep=deep)
    found = {}
    for name, deep, looks in (("look", False, LOOKS), ("deep look", True, DEEP_LOOKS)):
        ours, theirs = time.process_time(), cpu_s(server.pid)
        for _ in range(looks):
            watcher.look(specs, deep=deep)
            time.sleep(0.01)
        found[f"{name}, ours"] = (time.process_time() - ours) / looks * 1000
        found[f"{name}, the server's"] = (cpu_s(server.pid) - theirs) / looks * 1000
    each_s = found["look, ours"] / IDLE_EVERY_S + found["deep look, ours"] / DEEP_IDLE_EVERY_S
    found["percent of a core, idle"] = each_s / 10
    found["percent of a core, at 4 Hz"] = found["look, ours"] / EVERY_S / 10
    return found


@contextmanager
def watching(server: LlamaServer) -> Iterator[None]:
    """Look four times a second, from a thread of its own as the daemon does."""
    stopped = threading.Event()
    watcher = InferenceWatcher()
    specs = [ServerSpec("ai-engine", server.url)]

    def look() -> None:
        while not stopped.wait(EVERY_S):
            watcher.look(specs, deep=False)

    thread = threading.Thread(target=look)
    thread.start()
    try:
        yield
    finally:
        stopped.set()
        thread.join()
        watcher.close()


def generate(server: LlamaServer, *, watched: bool) -> dict[str, float]:
    """Generate, and return tokens each second and the server's processor time for each token."""
    before = cpu_s(server.pid)
    if watched:
        with watching(server):
            told = server.complete(TOKENS)
    else:
        told = server.complete(TOKENS)
    spent_s = cpu_s(server.pid) - before
    return {
        "tokens/s": told["timings"]["predicted_per_second"],
        "ms of cpu a token": spent_s / TOKENS * 1000,
    }


def main() -> None:
    """Measure and print."""
    args = arguments(__doc__ or "", rounds=7)
    before = machine()
    with tempfile.TemporaryDirectory() as place:
        large = write_model(Path(place) / "large.gguf", TINY.of_size(MODEL_BYTES))
        with llama_server(large) as server:
            cost = cost_of_looks(server)
        small = write_model(Path(place) / "small.gguf", TINY.of_size(SMALL_BYTES))
        raw: dict[str, list[dict[str, float]]] = {"alone": [], "watched at 4 Hz": []}
        with llama_server(small) as server:
            generate(server, watched=False)
            for number in range(args.rounds):
                order = list(raw) if number % 2 == 0 else list(raw)[::-1]
                for name in order:
                    raw[name].append(generate(server, watched=name != "alone"))
    print_table(("what", "ms or %"), [(name, f"{value:.3f}") for name, value in cost.items()])
    print(f"goal, idle: at most {GOAL_PERCENT} %\n")
    head = ("", "tokens/s", "lowest", "highest", "ms of cpu a token")
    print_table(head, [_row(*one) for one in raw.items()])
    report(args, before, {"cost": cost, "rounds": raw})


def _row(name: str, rounds: list[dict[str, float]]) -> tuple[str, ...]:
    speeds = [one["tokens/s"] for one in rounds]
    spent = statistics.median(one["ms of cpu a token"] for one in rounds)
    figures = (statistics.median(speeds), min(speeds), max(speeds))
    return (name, *(f"{one:.1f}" for one in figures), f"{spent:.3f}")


if __name__ == "__main__":
    main()
