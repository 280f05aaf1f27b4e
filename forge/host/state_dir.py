"""The directory of socket, log and database, which is the user's alone."""

import os

from forge.errors import StateDirUnsafe


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
