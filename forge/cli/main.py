"""`forge`: Forge's own commands, and every other verb is cargo's.

A command line that runs cargo must not pay for ours: click, rich, psutil and the configuration are
loaded only by Forge's own commands, which live behind `forge.cli.commands`.
"""

import os
import sys
from collections.abc import Mapping

from forge.core.verbs import ANSWERED_AT_ONCE, GLOBAL_WITH_VALUE, verb_index
from forge.errors import ForgeError, UsageMistake

OWN_COMMANDS = {
    "status": "forge.cli.cmd_status:status",
    "top": "forge.cli.cmd_top:top",
    "plan": "forge.cli.cmd_plan:plan",
    "doctor": "forge.cli.cmd_doctor:doctor",
    "log": "forge.cli.cmd_log:log",
    "queue": "forge.cli.cmd_queue:queue",
    "explain": "forge.cli.cmd_explain:explain",
    "history": "forge.cli.cmd_history:history",
    "attach": "forge.cli.cmd_attach:attach",
    "cancel": "forge.cli.cmd_cancel:cancel",
    "prio": "forge.cli.cmd_prio:prio",
    "hold": "forge.cli.cmd_hold:hold",
    "resume": "forge.cli.cmd_hold:resume",
    "inference": "forge.cli.cmd_inference:inference",
    "reserve": "forge.cli.cmd_reserve:reserve",
    "disk": "forge.cli.cmd_disk:disk",
    "target": "forge.cli.cmd_target:target",
    "services": "forge.cli.cmd_services:services",
    "daemon": "forge.cli.cmd_daemon:daemon",
    "config": "forge.cli.cmd_config:config",
    "shim": "forge.cli.cmd_shim:shim",
    "cargo-config": "forge.cli.cmd_cargo_config:cargo_config",
    "cargo": "forge.cli.cmd_cargo:cargo",
    "endpoints": "forge.cli.cmd_endpoints:endpoints",
    "install": "forge.cli.cmd_install:install",
    "uninstall": "forge.cli.cmd_install:uninstall",
    "remote": "forge.cli.cmd_remote:remote",
    "serve": "forge.cli.cmd_serve:serve",
    "completion": "forge.cli.cmd_completion:completion",
    "help": "forge.cli.cmd_help:help_",
}
"""Forge's own commands by name, and where each is defined. `cargo` never gets there."""

COMPLETE_VARIABLE = "_FORGE_COMPLETE"
"""Set by the completion scripts of the shells when they ask what may come next."""

EXIT_INTERRUPTED = 130
EXIT_BROKEN_PIPE = 141

_OWN_OPTIONS = ("-h", "--help", "-V", "--version")
_ALSO_CARGOS = ("install", "uninstall")
_OPTIONS_OF_INSTALL = ("--system", "--user", "--no-wrapper", "--dry-run", "--json", "-h", "--help")
_CARGO_FLAGS = ("--verbose", "--quiet", "--locked", "--offline", "--frozen")


def main() -> int:
    """Run what the command line asks for; return the exit code."""
    return run(sys.argv[1:], os.environ)


def run(argv: list[str], env: Mapping[str, str]) -> int:
    """Run one command line and turn what it raises into a line and an exit code."""
    try:
        return _own(argv, env) if _is_own(argv, env) else _cargo(argv, env)
    except ForgeError as error:
        _complain(error)
        return error.exit_code
    except KeyboardInterrupt:
        return EXIT_INTERRUPTED
    except BrokenPipeError:
        _drop_stdout()
        return EXIT_BROKEN_PIPE


def _is_own(argv: list[str], env: Mapping[str, str]) -> bool:
    if not argv or COMPLETE_VARIABLE in env:
        return True
    if argv[0] == "help":
        return len(argv) == 1 or argv[1] in OWN_COMMANDS or argv[1].startswith("-")
    if argv[0] in _ALSO_CARGOS and not _is_ours(argv[1:]):
        return False
    return argv[0] != "cargo" and (argv[0] in OWN_COMMANDS or argv[0] in _OWN_OPTIONS)


def _is_ours(words: list[str]) -> bool:
    """Say whether `install WORDS` is Forge's: cargo's names a crate, or has options of its own."""
    left = iter(words)
    for word in left:
        if word == "--user":
            next(left, None)
        elif word.partition("=")[0] not in _OPTIONS_OF_INSTALL:
            return False
    return True


def _own(argv: list[str], env: Mapping[str, str]) -> int:
    from forge.cli.commands import invoke

    code = invoke(argv, env)
    if sys.stdout:
        sys.stdout.flush()  # here, where a broken pipe is caught, and not at exit
    return code


def _cargo(argv: list[str], env: Mapping[str, str]) -> int:
    from forge.client import build

    if argv[0] == "cargo":
        argv = argv[1:]
    else:
        cargos, _ = build.take_options(argv)
        _refuse_unknown_options(cargos)
    return build.run(argv, env)


def _refuse_unknown_options(argv: list[str]) -> None:
    """Refuse options before the verb that cargo does not take there, as in `forge --release`."""
    words = iter(argv[: verb_index(argv)])
    for word in words:
        if word in GLOBAL_WITH_VALUE:
            next(words, None)
        elif word.startswith("-") and not _is_cargos(word):
            raise UsageMistake(
                f"there is no option `{word}` before the verb",
                hint="write it behind the verb, as in `forge build --release`",
            )


def _is_cargos(word: str) -> bool:
    if word in _CARGO_FLAGS or word in ANSWERED_AT_ONCE:
        return True
    if word.startswith("--"):
        return word.partition("=")[0] in GLOBAL_WITH_VALUE
    return word[:2] in GLOBAL_WITH_VALUE or (len(word) > 1 and set(word[1:]) <= set("vq"))


def _complain(error: ForgeError) -> None:
    line = f"forge: {error.message}" + (f" ({error.hint})" if error.hint else "")
    try:
        sys.stderr.write(line.replace("\n", " ") + "\n")
        sys.stderr.flush()
    except (OSError, ValueError, AttributeError):
        sys.stderr = None  # closed: nobody wants to hear it


def _drop_stdout() -> None:
    """Point stdout at nothing, so that Python does not complain of the pipe once more at exit."""
    nothing = os.open(os.devnull, os.O_WRONLY)
    try:
        os.dup2(nothing, sys.stdout.fileno())
    except (OSError, ValueError):  # stdout is no file, or closed already: nothing to flush into
        pass
    finally:
        os.close(nothing)


if __name__ == "__main__":
    sys.exit(main())
