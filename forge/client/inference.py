"""What the llama-server needs and how it is started, for commands. No daemon is asked."""

import os
import resource
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from forge import config, paths
from forge.config_inference import launch_of
from forge.core.inference_plan import FoundRows, InferencePlan
from forge.core.inference_surprises import Surprise, surprises_of
from forge.core.llama_args import read_args
from forge.core.llama_build import LlamaBuild
from forge.core.llama_command import Command, Launch, command_of
from forge.errors import ForgeError, ServerMissing, ServerUnknown
from forge.host.inference_files import found_rows, plan_command_line
from forge.host.llama_help import ask_build, find_server


class ModelUnset(ForgeError):
    """No model is set, so there is no server to speak of."""

    slug = "model-unset"
    exit_code = os.EX_CONFIG


@dataclass(frozen=True, slots=True)
class Told:
    """A plan, and the command line that it is for. `unasked` says why no build was asked."""

    plan: InferencePlan
    argv: Sequence[str]
    surprises: tuple[Surprise, ...]
    unasked: str = ""


def configured(env: Mapping[str, str]) -> Launch:
    """Return how forge.toml has the server started. Raises ModelUnset, ConfigInvalid."""
    file = paths.config_file(env)
    launch = launch_of(config.load(Path(file)))
    if launch is None:
        raise ModelUnset(
            f"{file} does not set `inference.model`",
            hint="set it to the model's GGUF file, or write a command line after `--`",
        )
    return launch


def found(cfg: config.Config) -> FoundRows:
    """Return the rows of the memory map that the configured server takes. Never fails."""
    return found_rows(launch_of(cfg))


def plan_configured(env: Mapping[str, str]) -> Told:
    """Return what the configured server needs."""
    launch = configured(env)
    build, unasked = _asked(launch.server, env)
    argv = command_of(launch, build).argv
    return _told(argv, env, build, unasked)


def plan_words(words: Sequence[str], env: Mapping[str, str]) -> Told:
    """Return what a server with this command line needs, be its program named or not."""
    server = read_args(words).program
    if server is None:
        server = str(config.load(Path(paths.config_file(env)))["inference.server"])
        words = (server, *words)
    build, unasked = _asked(server, env)
    return _told(words, env, build, unasked)


def command(env: Mapping[str, str], more: Sequence[str] = ()) -> Command:
    """Return the command line of the configured server, for the build that is installed."""
    launch = configured(env)
    server = find_server(launch.server, env)
    made = command_of(launch, ask_build(server, env))
    return Command((server, *made.argv[1:], *more), made.env, made.lacks)


def become(made: Command, env: Mapping[str, str]) -> None:
    """Go on as the server; return only by an error. Raises ServerMissing."""
    _raise_lockable()
    try:
        os.execve(made.argv[0], made.argv, {**env, **_unset(made.env, env)})  # noqa: S606  # no shell
    except OSError as error:
        raise ServerMissing(f"{made.argv[0]} cannot be run: {error.strerror}") from None


def _told(
    argv: Sequence[str], env: Mapping[str, str], build: LlamaBuild | None, unasked: str
) -> Told:
    plan = plan_command_line(argv, env, build=build)
    return Told(plan, argv, surprises_of(plan, argv), unasked)


def _asked(server: str, env: Mapping[str, str]) -> tuple[LlamaBuild | None, str]:
    try:
        return ask_build(find_server(server, env), env), ""
    except (ServerMissing, ServerUnknown) as error:
        return None, error.message


def _unset(wanted: Mapping[str, str], env: Mapping[str, str]) -> dict[str, str]:
    """Return those variables that the user has not set."""
    return {name: value for name, value in wanted.items() if name not in env}


def _raise_lockable() -> None:
    """Let the server lock as much as the hard limit allows; it says so itself if that is little."""
    _, hard = resource.getrlimit(resource.RLIMIT_MEMLOCK)
    with suppress(ValueError, OSError):  # EINVAL, EPERM: it goes on without
        resource.setrlimit(resource.RLIMIT_MEMLOCK, (hard, hard))
