"""Ask an installed llama-server which options it knows."""

import shutil
from collections.abc import Mapping

from forge.core.llama_build import LlamaBuild, read_help
from forge.errors import DeadlineExceeded, ServerMissing, ServerUnknown
from forge.host.commands import run_command

DEADLINE_S = 20.0  # it links half a graphics stack, and the first start after a boot reads it all


def find_server(server: str, env: Mapping[str, str]) -> str:
    """Return the path of a program that is named by a path or is on PATH. Raises ServerMissing."""
    found = shutil.which(server, path=env.get("PATH", ""))
    if found is None:
        raise ServerMissing(
            f"there is no llama-server `{server}`", hint="`inference.server` names the one to run"
        )
    return found


def ask_build(path: str, env: Mapping[str, str], deadline_s: float = DEADLINE_S) -> LlamaBuild:
    """Run `llama-server --help` and read it. Raises ServerMissing, ServerUnknown."""
    try:
        told = run_command([path, "--help"], deadline_s=deadline_s, env=env)
    except DeadlineExceeded as error:
        raise ServerUnknown(error.message, hint=error.hint) from None
    except OSError as error:
        raise ServerMissing(f"{path} cannot be run: {error.strerror}") from None
    build = read_help(told.text)
    if build is None:
        raise ServerUnknown(
            f"`{path} --help` does not tell the options of a llama-server",
            hint="`inference.server` names the one to run",
        )
    return build
