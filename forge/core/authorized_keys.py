"""Lines of authorized_keys(5) that let a build key in: written, read, and refused.

The public key comes from another person: it is one line of a known type whose body is what the
type says, or it is refused. Whatever else it carries (options, a comment) is left behind.
"""

import binascii
import re
import shlex
import struct
from collections.abc import Sequence
from dataclasses import dataclass

from forge.core.remote_values import NAME

MIN_RSA_BITS = 2048
MAX_KEY_CHARACTERS = 8192
_PARTS = {
    "ssh-ed25519": 2,
    "ecdsa-sha2-nistp256": 3,
    "ecdsa-sha2-nistp384": 3,
    "ecdsa-sha2-nistp521": 3,
    "ssh-rsa": 3,
    "sk-ssh-ed25519@openssh.com": 3,
    "sk-ecdsa-sha2-nistp256@openssh.com": 4,
}
"""Types that are let in, and of how many parts each body is made, its type included."""

_OWN = re.compile(r'restrict,command="(?P<command>(?:[^"\\]|\\.)*)" (?P<key>\S+ \S+)( .*)?')
_UNPRINTABLE = re.compile(r"[\x00-\x1f\x7f]")


class KeyRefused(ValueError):
    """What was given is no public key that is let in."""


@dataclass(frozen=True, slots=True)
class PublicKey:
    """A key: its type, and its body in base64."""

    kind: str
    body: str

    @property
    def text(self) -> str:
        """Write it as authorized_keys has it."""
        return f"{self.kind} {self.body}"


@dataclass(frozen=True, slots=True)
class KeyLine:
    """A line of ours: the words of its command, and its key."""

    words: tuple[str, ...]
    key: str

    @property
    def name(self) -> str:
        """The key's name, which its builds bear."""
        return self.words[self.words.index("--key") + 1]

    @property
    def options(self) -> tuple[str, ...]:
        """What `forge serve` is told of the key."""
        return self.words[self.words.index("serve") + 1 :]


def read_public_key(text: str) -> PublicKey:
    """Read the content of a `.pub` file. Raises KeyRefused."""
    if "PRIVATE KEY" in text:
        raise KeyRefused("that is a private key: it stays where it is, and its `.pub` is given")
    line = text.removesuffix("\n").removesuffix("\r")
    if _UNPRINTABLE.search(line) or len(line) > MAX_KEY_CHARACTERS:
        raise KeyRefused("a public key is one line, without control characters")
    words = line.split(" ")
    if words[0] not in _PARTS:
        raise KeyRefused(f"`{words[0][:40]}` is no type of key that is let in")
    if len(words) < 2:
        raise KeyRefused("there is no key behind its type")
    _check_body(words[0], words[1])
    return PublicKey(words[0], words[1])


def _check_body(kind: str, body: str) -> None:
    try:
        blob = binascii.a2b_base64(body.encode("ascii"), strict_mode=True)
    except (binascii.Error, UnicodeEncodeError):
        raise KeyRefused("the key is not written in base64") from None
    if binascii.b2a_base64(blob, newline=False).decode() != body:
        raise KeyRefused("the key is not written in base64 as it should be")
    parts = _parts(blob)
    if len(parts) != _PARTS[kind] or parts[0] != kind.encode():
        raise KeyRefused(f"the key is not what its type `{kind}` says")
    if kind == "ssh-rsa" and int.from_bytes(parts[2], "big").bit_length() < MIN_RSA_BITS:
        raise KeyRefused(f"an RSA key has at least {MIN_RSA_BITS} bits")
    if kind == "ssh-ed25519" and len(parts[1]) != 32:
        raise KeyRefused(f"the key is not what its type `{kind}` says")


def _parts(blob: bytes) -> list[bytes]:
    parts, at = [], 0
    while at + 4 <= len(blob):
        (size,) = struct.unpack_from(">I", blob, at)
        parts.append(blob[at + 4 : at + 4 + size])
        at += 4 + size
    return parts if at == len(blob) else []


def write_line(key: PublicKey, words: Sequence[str], name: str) -> str:
    """Write the line that lets a key in for one command and nothing else.

    sshd hands the command to the login's shell, so each word is quoted for it. Raises KeyRefused.
    """
    if not NAME.fullmatch(name):
        raise KeyRefused(f"`{name[:40]}` is no name: letters, digits, `.`, `_` and `-`, at most 64")
    command = shlex.join(words)
    if _UNPRINTABLE.search(command) or "\\" in command:
        raise KeyRefused("the command has a character that no line can hold")
    quoted = command.replace('"', '\\"')
    return f'restrict,command="{quoted}" {key.text} opta-forge:{name}'


def read_line(line: str) -> KeyLine | None:
    """Read a line that we have written; None when it is another's."""
    found = _OWN.fullmatch(line)
    if not found:
        return None
    try:
        words = tuple(shlex.split(found["command"].replace('\\"', '"')))
    except ValueError:
        return None
    if "serve" not in words or "--key" not in words[:-1]:
        return None
    return KeyLine(words, found["key"])


def has_key(lines: Sequence[str], key: PublicKey) -> bool:
    """Say whether any line lets a key in, with whatever options: sshd takes the first that does."""
    return any(
        key.body in line.replace("\t", " ").split(" ")
        for line in lines
        if not line.lstrip().startswith("#")
    )
