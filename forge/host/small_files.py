"""The small files in which a kernel tells its figures, and takes wishes."""

import os

_CHUNK_BYTES = 65536


def read_text(path: str) -> str:
    """Read a file to its end in as few system calls as that takes. Raises OSError."""
    descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        chunks = []
        while chunk := os.read(descriptor, _CHUNK_BYTES):
            chunks.append(chunk)
    finally:
        os.close(descriptor)
    return b"".join(chunks).decode("utf-8", "surrogateescape")


def write_kernel_file(path: str, text: str) -> None:
    """Write into a file of the kernel's, which must be there. Raises OSError that names it."""
    descriptor = os.open(path, os.O_WRONLY | os.O_TRUNC | os.O_CLOEXEC)
    try:
        os.write(descriptor, text.encode())
    except OSError as error:
        raise OSError(error.errno, error.strerror, path) from None
    finally:
        os.close(descriptor)


def figure(text: str, name: str) -> int | None:
    """Return the number behind `name` at the start of a line; None when there is no such line."""
    _, mark, rest = f"\n{text}".partition(f"\n{name} ")
    return int(rest.split(maxsplit=1)[0]) if mark else None


def reason_of(error: OSError | ValueError) -> str:
    """Say in a person's words why a figure could not be read."""
    if not isinstance(error, OSError) or not error.strerror:
        return str(error)
    reason = error.strerror.lower()
    return f"{error.filename}: {reason}" if error.filename else reason
