"""The directory of socket, log and database, which is the user's alone."""

import os
import sys

from forge.errors import StateDirUnsafe
from forge.host.whole_files import replace_file
from forge.paths import COMMAND_NAME, FORGE_COMMAND_NAME

DAEMON_COMMAND = (sys.executable, "-P", "-m", "forge.daemon.main")
"""How this Forge's daemon is started."""

FORGE_COMMAND = (sys.executable, "-P", "-m", "forge.cli.main")
"""How this Forge itself is started."""


def private_dir(path: str) -> None:
    """Make a directory that is the user's alone. Raises StateDirUnsafe when it cannot be."""
    try:
        os.makedirs(path, mode=0o700, exist_ok=True)
        status = os.stat(path)
        if status.st_uid != os.getuid():
            raise StateDirUnsafe(f"{path} belongs to user {status.st_uid}, not to {os.getuid()}")
        if status.st_mode & 0o077:
            os.chmod(path, 0o700)
    except OSError as error:
        raise StateDirUnsafe(f"{path} cannot be made: {error.strerror}") from None


def note_commands(state_dir: str) -> None:
    """Note how to start the daemon and Forge itself, one argument a line, for native clients.

    Whoever came last wins: a note may name a Python that an upgrade has taken away. Raises OSError.
    """
    _note(os.path.join(state_dir, COMMAND_NAME), DAEMON_COMMAND)
    _note(os.path.join(state_dir, FORGE_COMMAND_NAME), FORGE_COMMAND)


def _note(path: str, command: tuple[str, ...]) -> None:
    wanted = os.fsencode("\n".join(command) + "\n")
    try:
        with open(path, "rb") as file:
            if file.read() == wanted:
                return
    except FileNotFoundError:
        pass
    replace_file(path, wanted)
