"""Settings that say which inference servers are looked after, and what builds leave to them."""

from typing import Any

from forge.config_values import Setting, count_of, read_url, read_yes_no

MOST_SERVERS = 16


def read_urls(value: Any) -> tuple[str, ...]:
    """Read one address or a list of them, each once. Raises ValueError."""
    found = value if isinstance(value, list) else [value]
    if not 0 < len(found) <= MOST_SERVERS:
        raise ValueError
    return tuple(dict.fromkeys(read_url(one) for one in found))


SERVER_SETTINGS: tuple[Setting, ...] = (
    Setting(
        "inference.url", "an http or https address, or a list of them", "http://127.0.0.1:8080",
        "Where the llama-server answers, or all of several.",
        read_urls,
    ),
    Setting(
        "inference.enabled", "true or false", True,
        "Whether Forge looks after inference servers: looks at them, keeps cores and memory for"
        " them, and has builds give way.",
        read_yes_no,
    ),
    Setting(
        "inference.cores", 'a whole number from 0 to 4096, or "auto"', "auto",
        "Cores that builds leave free while a server generates or loads; at least one is left to"
        " builds. `auto`: its threads (`-t`), half of the cores at most; one in eight where they"
        " are not known.",
        count_of(0, 4096),
    ),
    Setting(
        "inference.build_nice", "a whole number from 0 to 19", 10,
        "How far builds step back on the cores for a server, as a nice: the cgroup of builds gets"
        " the weight that this means while a server works, and where it has none, builds that start"
        " while a server is there have it. 0: not at all.",
        count_of(0, 19),
    ),
    Setting(
        "inference.protect", "true or false", False,
        "Whether Forge may tell the kernel to spare the server, on Linux and as far as the user"
        " that runs it may: a low `oom_score_adj`, and `memory.low` of a cgroup that is the"
        " server's own.",
        read_yes_no,
    ),
)  # fmt: skip
