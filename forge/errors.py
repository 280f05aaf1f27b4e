"""Failures that Forge foresees, each with a slug in docs/messages.md and an exit code.

Anything else that escapes is a bug and keeps its traceback. Exit codes are those of sysexits(3).
"""

import os
from typing import ClassVar


class ForgeError(Exception):
    """A foreseen failure: one line for people, a way out, and the exit code of the command."""

    slug: ClassVar[str] = "error"
    exit_code: int = os.EX_SOFTWARE

    def __init__(self, message: str, *, hint: str | None = None) -> None:
        super().__init__(message)
        self.message = message
        self.hint = hint


class UsageMistake(ForgeError):
    """The command line asks for something that does not exist or does not fit together."""

    slug = "usage-mistake"
    exit_code = os.EX_USAGE


class ConfigInvalid(ForgeError):
    """forge.toml does not parse, or a value in it does not fit."""

    slug = "config-invalid"
    exit_code = os.EX_CONFIG


class DaemonUnreachable(ForgeError):
    """No daemon answers on the socket, and none could be started."""

    slug = "daemon-unreachable"
    exit_code = os.EX_UNAVAILABLE


class DaemonRefused(ForgeError):
    """The daemon answered, and refused what was asked; `refusal` is the slug of its reason.

    The exit code is that of the reason where it is one that we know, EX_UNAVAILABLE otherwise.
    """

    slug = "daemon-refused"
    exit_code = os.EX_UNAVAILABLE

    def __init__(self, message: str, *, hint: str | None = None, refusal: str = "") -> None:
        super().__init__(message, hint=hint)
        self.refusal = refusal
        reasons = {kind.slug: kind.exit_code for kind in ForgeError.__subclasses__()}
        self.exit_code = reasons.get(refusal, os.EX_UNAVAILABLE)


class ProtocolMismatch(ForgeError):
    """The other end does not speak a version of the protocol that we know, or talks garbage."""

    slug = "protocol-mismatch"
    exit_code = os.EX_PROTOCOL


class NoSuchBuild(ForgeError):
    """No build of that id is under way."""

    slug = "no-such-build"
    exit_code = os.EX_DATAERR


class StateDirUnsafe(ForgeError):
    """The state directory is not private to the user, or cannot be made so."""

    slug = "state-dir-unsafe"
    exit_code = os.EX_NOPERM


class CargoMissing(ForgeError):
    """There is no cargo to run. Exit code 127, as a shell would give."""

    slug = "cargo-missing"
    exit_code = 127


class CommandMissing(ForgeError):
    """There is no such command to run. Exit code 127, as a shell would give."""

    slug = "command-missing"
    exit_code = 127


class CwdGone(ForgeError):
    """The working directory does not exist any more."""

    slug = "cwd-gone"
    exit_code = os.EX_NOINPUT


class ShimUnavailable(ForgeError):
    """The native shim cannot be built here: builds run without gates."""

    slug = "shim-unavailable"
    exit_code = os.EX_UNAVAILABLE


class DiskUnavailable(ForgeError):
    """The RAM disk cannot be had: no privilege, no memory, or a tool of the OS failed."""

    slug = "disk-unavailable"
    exit_code = os.EX_UNAVAILABLE


class DiskTaken(ForgeError):
    """Something that Forge cannot prove to be its own sits where the RAM disk would go."""

    slug = "disk-taken"
    exit_code = os.EX_CANTCREAT


class DiskBusy(ForgeError):
    """The RAM disk is in use and cannot be unmounted now."""

    slug = "disk-busy"
    exit_code = os.EX_TEMPFAIL


class TargetDirMissing(ForgeError):
    """There is no such target dir, or it is none that can be used."""

    slug = "target-dir-missing"
    exit_code = os.EX_NOINPUT


class TargetDirInUse(ForgeError):
    """A target dir is used by a build or by another process, and stays as it is."""

    slug = "target-dir-in-use"
    exit_code = os.EX_TEMPFAIL


class SpillRefused(ForgeError):
    """A target dir cannot go to the SSD, or come back: no room, or the place is not Forge's own."""

    slug = "spill-refused"
    exit_code = os.EX_CANTCREAT


class ResizeRefused(ForgeError):
    """The RAM disk cannot have that size: below use, or of a kind that does not resize."""

    slug = "resize-refused"
    exit_code = os.EX_DATAERR


class ModelUnreadable(ForgeError):
    """A model's file is not there, or does not say what llama-server would need of memory."""

    slug = "model-unreadable"
    exit_code = os.EX_NOINPUT


class ServerMissing(ForgeError):
    """There is no llama-server to run. Exit code 127, as a shell would give."""

    slug = "server-missing"
    exit_code = 127


class ServerUnknown(ForgeError):
    """What is called llama-server does not say which options it knows."""

    slug = "server-unknown"
    exit_code = os.EX_UNAVAILABLE


class DeadlineExceeded(ForgeError):
    """A command of the OS did not end in time; it and its children were ended."""

    slug = "deadline-exceeded"
    exit_code = os.EX_TEMPFAIL


class TreeRefused(ForgeError):
    """A directory tree is not what it was, or not one that can be kept or moved."""

    slug = "tree-refused"
    exit_code = os.EX_DATAERR


class SnapshotRefused(ForgeError):
    """A snapshot is damaged, of another version, or does not belong where it should go."""

    slug = "snapshot-refused"
    exit_code = os.EX_DATAERR


class SnapshotFailed(ForgeError):
    """A snapshot could not be saved or restored: a disk is full or does not do its work."""

    slug = "snapshot-failed"
    exit_code = os.EX_IOERR


class NoSuchSnapshot(ForgeError):
    """There is no snapshot of that project or with that id."""

    slug = "no-such-snapshot"
    exit_code = os.EX_NOINPUT


class TargetDirBusy(ForgeError):
    """A target dir is in use: a build has it, or another request works on it."""

    slug = "target-busy"
    exit_code = os.EX_TEMPFAIL


class KeyInvalid(ForgeError):
    """What was given is no public key, or no name for one, that can be let in."""

    slug = "key-invalid"
    exit_code = os.EX_DATAERR


class KeyTaken(ForgeError):
    """There is a build key of that name already, or the key is in authorized_keys already."""

    slug = "key-taken"
    exit_code = os.EX_CANTCREAT


class NoSuchKey(ForgeError):
    """No build key has that name."""

    slug = "no-such-key"
    exit_code = os.EX_DATAERR


class KeysFileUnsafe(ForgeError):
    """authorized_keys cannot be trusted, read or written."""

    slug = "keys-file-unsafe"
    exit_code = os.EX_NOPERM


class NotAllowed(ForgeError):
    """A build key does not allow what its client asks for."""

    slug = "not-allowed"
    exit_code = os.EX_NOPERM


class QuotaExceeded(ForgeError):
    """A build key has no more room, files, builds or time on this host."""

    slug = "quota-exceeded"
    exit_code = os.EX_CANTCREAT


class SourcesRefused(ForgeError):
    """What a client sent is no tree, or not the one that it said."""

    slug = "tree-invalid"
    exit_code = os.EX_DATAERR


class HostFailed(ForgeError):
    """The host of a remote build cannot do its part: its disk is full, or a file cannot be made."""

    slug = "host-failed"
    exit_code = os.EX_IOERR


class SandboxUnavailable(ForgeError):
    """There is no sandbox here, so keys that need one build nothing."""

    slug = "sandbox-unavailable"
    exit_code = os.EX_UNAVAILABLE


class ConnectionLost(ForgeError):
    """The other end of a remote build is gone, or is silent for too long."""

    slug = "connection-lost"
    exit_code = os.EX_UNAVAILABLE
