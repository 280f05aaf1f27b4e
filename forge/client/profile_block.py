"""The marked block that puts the wrapper's directory into PATH, in the start-up files of a shell.

A block goes to the end of a file: there it comes behind what rustup adds, so the wrapper is found
first. Taking it out gives the file back byte for byte. What the text around a block cannot tell is
noted inside it: that the file is ours altogether, or that its last line had no end.
"""

import os
import stat
import tempfile
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass

from forge.errors import ForgeError, UsageMistake
from forge.paths import home

BEGIN = b"# >>> opta-forge >>>"
END = b"# <<< opta-forge <<<"
_HEAD = b"# written by `forge shim install`, taken out by `forge shim uninstall`"
_MADE = b"# this file was made for this block"
_NO_END = b"# the line above had no end"


class UserFileUnwritable(ForgeError):
    """A file of the user's that Forge was asked to change cannot be read or written."""

    slug = "user-file-unwritable"
    exit_code = os.EX_CANTCREAT


class BlockBroken(ForgeError):
    """A marked block has a beginning and no end, so nobody knows how much of it is Forge's."""

    slug = "block-broken"
    exit_code = os.EX_DATAERR


@dataclass(frozen=True, slots=True)
class Change:
    """What becomes of a file; `text` None: it is deleted. `path` may be a link to the real file."""

    path: str
    text: bytes | None

    def write(self) -> None:
        """Make it so, in one step. Raises UserFileUnwritable."""
        replace_file(self.path, self.text)


def shell_of(env: Mapping[str, str]) -> str:
    """Name the user's shell: bash, zsh, fish, or sh for any other."""
    name = os.path.basename(env.get("SHELL", ""))
    return name if name in ("bash", "zsh", "fish") else "sh"


def path_line(directory: str, shell: str, env: Mapping[str, str]) -> str:
    """Return the line that puts `directory` first. Raises UsageMistake when PATH cannot hold it."""
    if ":" in directory or "\n" in directory:
        raise UsageMistake(f"{directory!r} cannot be in PATH", hint="take one without `:`")
    special = '\\"$' if shell == "fish" else '\\"$`'
    quoted = "".join(f"\\{c}" if c in special else c for c in directory)
    prefix = "".join(f"\\{c}" if c in special else c for c in home(env).rstrip("/")) + "/"
    if len(prefix) > 1 and quoted.startswith(prefix):
        quoted = "$HOME/" + quoted[len(prefix) :]
    return f'set -gx PATH "{quoted}" $PATH' if shell == "fish" else f'export PATH="{quoted}:$PATH"'


def profiles(shell: str, env: Mapping[str, str]) -> list[str]:
    """Return the files that `shell` reads when it starts, as far as a block belongs there."""
    own = home(env)
    if shell == "zsh":
        return [os.path.join(own, ".zshenv")]
    if shell == "fish":
        return [_fish(env)]
    if shell != "bash":
        return [os.path.join(own, ".profile")]
    # A login shell reads the first of these and nothing else: bash(1).
    login = [os.path.join(own, name) for name in (".bash_profile", ".bash_login", ".profile")]
    first = next((file for file in login if os.path.lexists(file)), login[-1])
    return [os.path.join(own, ".bashrc"), first]


def all_profiles(env: Mapping[str, str]) -> list[str]:
    """Return every file that may hold a block, whatever the shell was then."""
    names = (".zshenv", ".bashrc", ".bash_profile", ".bash_login", ".profile")
    return [*(os.path.join(home(env), name) for name in names), _fish(env)]


def adding(files: list[str], line: str) -> list[Change]:
    """Return the changes that put a block with `line` into each file; none where it is already."""
    return _changes(files, lambda text, file: with_block(text, os.fsencode(line), file))


def removing(files: list[str]) -> list[Change]:
    """Return the changes that take the blocks out of the files. Raises BlockBroken."""
    return _changes(files, without_block)


def with_block(text: bytes | None, line: bytes, file: str) -> bytes:
    """Return `text` with one block that holds `line`; None stands for a file that is not there."""
    lines = (text or b"").split(b"\n")
    blocks = _blocks(lines, file)
    if len(blocks) == 1 and line in lines[slice(*blocks[0])]:
        return text or b""
    rest = without_block(text, file)
    notes = [_MADE] if rest is None else []
    rest = rest or b""
    if rest and not rest.endswith(b"\n"):
        rest += b"\n"
        notes = [_NO_END]
    return rest + b"\n".join([BEGIN, _HEAD, *notes, line, END, b""])


def without_block(text: bytes | None, file: str) -> bytes | None:
    """Return `text` without its blocks; None when nothing but what Forge made is left of it.

    What somebody wrote into a block goes with it. Raises BlockBroken.
    """
    if text is None:
        return None
    lines = text.split(b"\n")
    made = False
    for begin, end in reversed(_blocks(lines, file)):
        block = [line.rstrip(b"\r") for line in lines[begin:end]]
        made |= _MADE in block
        at_the_end = lines[end:] in ([], [b""])
        if at_the_end and _NO_END in block:
            del lines[begin:]  # and with it the end of the line above
        else:
            lines[begin:end] = [b""] if end == len(lines) else []
    rest = b"\n".join(lines)
    return None if made and not rest else rest


def read_file(path: str) -> bytes | None:
    """Return what is in a file of the user's; None when there is none."""
    try:
        with open(path, "rb") as file:
            return file.read()
    except FileNotFoundError:
        return None
    except OSError as error:
        raise UserFileUnwritable(f"{path} cannot be read: {error.strerror}") from None


def replace_file(path: str, text: bytes | None) -> None:
    """Write a file of the user's in one step, or delete it (None).

    A link stays a link; the real file keeps its mode and its owner. Raises UserFileUnwritable.
    """
    real = os.path.realpath(path)
    draft = None
    try:
        if text is None:
            os.unlink(real)
            return
        os.makedirs(os.path.dirname(real), exist_ok=True)
        descriptor, draft = tempfile.mkstemp(dir=os.path.dirname(real), prefix=".opta-forge-")
        with os.fdopen(descriptor, "wb") as out:
            out.write(text)
            out.flush()
            _take_after(real, out.fileno())
            os.fsync(out.fileno())
        os.replace(draft, real)
    except OSError as error:
        raise UserFileUnwritable(f"{path} cannot be written: {error.strerror}") from None
    finally:
        if draft:
            with suppress(FileNotFoundError):
                os.unlink(draft)


def _take_after(real: str, descriptor: int) -> None:
    """Give a draft the mode and the owner of the file that it replaces, or those of a new one."""
    try:
        old = os.stat(real)
    except FileNotFoundError:
        os.fchmod(descriptor, 0o644)
        return
    if (old.st_uid, old.st_gid) != (os.getuid(), os.getgid()):
        os.fchown(descriptor, old.st_uid, old.st_gid)
    os.fchmod(descriptor, stat.S_IMODE(old.st_mode))


def _fish(env: Mapping[str, str]) -> str:
    """Return our file of fish's; the files there are read by name, and rustup.fish prepends too."""
    config = env.get("XDG_CONFIG_HOME") or os.path.join(home(env), ".config")
    return os.path.join(config, "fish", "conf.d", "zz-opta-forge.fish")


def _changes(files: list[str], change: Callable[[bytes | None, str], bytes | None]) -> list[Change]:
    found = []
    for file in files:
        old = read_file(file)
        new = change(old, file)
        if new != old:
            found.append(Change(file, new))
    return found


def _blocks(lines: list[bytes], file: str) -> list[tuple[int, int]]:
    """Return where the blocks are: from their first line to behind their last."""
    found, begin = [], None
    for number, line in enumerate(lines):
        word = line.strip()
        if word == BEGIN:
            if begin is not None:
                break  # the one before has no end
            begin = number
        elif word == END and begin is not None:
            found.append((begin, number + 1))
            begin = None
    if begin is not None:
        raise BlockBroken(
            f"{file}:{begin + 1}: the block that begins here has no line `{END.decode()}`",
            hint="add that line where the block ends",
        )
    return found
