"""Looks at the configured server until it is ready, and compares it with its plan."""

import time
from collections.abc import Callable, Mapping
from pathlib import Path

from forge import config, paths
from forge.client.inference import plan_configured
from forge.core.checkup import Row
from forge.core.checkup_launch import launch_rows
from forge.core.inference_seen import Answer, ServerSeen
from forge.core.inference_settings import ServerSpec
from forge.errors import ConfigInvalid
from forge.host.inference import InferenceWatcher
from forge.host.small_files import read_text, reason_of

LOOK_EVERY_S = 0.5


def verify(env: Mapping[str, str], wait_s: float, say: Callable[[str], None]) -> list[Row]:
    """Wait until the server is ready, `wait_s` at most; return what is as planned and what not."""
    plan = plan_configured(env).plan
    spec = _spec(config.load(Path(paths.config_file(env))))
    watcher = InferenceWatcher()
    try:
        return launch_rows(plan, _ready(watcher, spec, wait_s, say))
    finally:
        watcher.close()


def _ready(
    watcher: InferenceWatcher, spec: ServerSpec, wait_s: float, say: Callable[[str], None]
) -> ServerSeen:
    until_s = time.monotonic() + wait_s
    has_said = False
    while True:
        (seen,) = watcher.look([spec], deep=True)
        if seen.served.answer is Answer.READY or time.monotonic() >= until_s:
            return seen
        if not has_said:
            say(f"waiting for {spec.url} to be ready")
            has_said = True
        time.sleep(LOOK_EVERY_S)


def _spec(cfg: config.Config) -> ServerSpec:
    url, file = cfg["inference.url"][0], cfg["inference.api_key_file"]
    try:
        key = read_text(file).partition("\n")[0].strip() if file else ""
    except OSError as error:
        raise ConfigInvalid(
            f"`inference.api_key_file` cannot be read: {reason_of(error)}"
        ) from None
    return ServerSpec(name=url, url=url, api_key=key or None)
