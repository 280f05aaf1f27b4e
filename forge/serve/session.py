"""One connection of a client, from its hello to its end."""

import os
import time
from collections.abc import Mapping
from dataclasses import dataclass, field

import forge
from forge.core.remote_frames import GREETING, VERSION, Frame, FrameType
from forge.core.remote_messages import (
    Attach,
    Error,
    Fetch,
    Hello,
    JobList,
    MessageRefused,
    Open,
    RemoteMessage,
    Run,
    Welcome,
    from_frame,
)
from forge.core.remote_policy import KeyRules, project_refusal
from forge.errors import ConnectionLost, ForgeError, HostFailed, NotAllowed, ProtocolMismatch
from forge.serve.area import Area, areas_dir, key_dir
from forge.serve.channel import Channel
from forge.serve.jobs import Jobs
from forge.serve.running import Runner
from forge.serve.sync import take_tree

HELLO_PATIENCE_S = 30.0
CAPABILITIES = ("detach", "fetch", "pty")


@dataclass(slots=True)
class Session:
    """A client and what is known of it. `host` is the environment of builds, without a client's."""

    channel: Channel
    rules: KeyRules
    host: Mapping[str, str]
    connection: str
    area: Area | None = None
    _jobs: Jobs = field(init=False)
    _runner: Runner = field(init=False)

    def __post_init__(self) -> None:
        self._jobs = Jobs(key_dir(areas_dir(self.host), self.rules), self.rules)
        self._runner = Runner(self.channel, self.rules, self.host, self.connection, self._jobs)

    def serve(self) -> int:
        """Talk to the client until it goes; return the exit code of `forge serve`."""
        try:
            self._serve()
        except (ConnectionLost, KeyboardInterrupt):
            return os.EX_UNAVAILABLE
        except MessageRefused as refused:
            return self._refuse(ProtocolMismatch(f"the client is not understood: {refused}"))
        except OSError as error:
            return self._refuse(
                HostFailed(f"the host failed: {error.strerror}: {error.filename!a}")
            )
        except ForgeError as error:
            return self._refuse(error)
        return os.EX_OK

    def _serve(self) -> None:
        self.channel.send_bytes(GREETING)
        self._greet()
        while (frame := self._next()) is not None:
            if frame.type is FrameType.BYE:
                return
            self._answer(frame)

    def _next(self) -> Frame | None:
        """Return what is to be done next: what waits for a tree comes first once there is one."""
        while True:
            frames = self.channel
            if frames.run and self.area:
                run, frames.run = frames.run, None
                return run
            if frames.has_frames or frames.is_at_end:
                return frames.next_frame()
            frames.wait((), None)

    def _greet(self) -> None:
        frame = self.channel.next_frame(HELLO_PATIENCE_S)
        if frame is None:
            raise ConnectionLost("the client went away")
        hello = from_frame(frame) if frame.type is FrameType.HELLO else None
        if not isinstance(hello, Hello):
            raise ProtocolMismatch("the client does not say HELLO first")
        if VERSION not in hello.versions:
            raise ProtocolMismatch(
                f"the client speaks version {max(hello.versions, default=0)}, this host {VERSION}",
                hint=f"this host has Forge {forge.__version__}",
            )
        self.channel.send(
            Welcome(
                version=VERSION,
                forge=forge.__version__,
                key=self.rules.name,
                system=os.uname().sysname,
                machine=os.uname().machine,
                now_ns=time.time_ns(),
                capabilities=list(CAPABILITIES),
                max_files=self.rules.max_files,
                max_bytes=self.rules.max_bytes,
            )
        )

    def _answer(self, frame: Frame) -> None:
        match frame.type:
            case FrameType.JOBS:
                self.channel.send(JobList(jobs=self._jobs.listed()))
            case FrameType.INFO:
                from forge.serve.information import information  # rare, and slow to load

                self.channel.send(information(self.rules, self.host))
            case _:
                self._do(self._message(frame))

    @staticmethod
    def _message(frame: Frame) -> RemoteMessage:
        try:
            return from_frame(frame)
        except MessageRefused as refused:
            raise ProtocolMismatch(f"the client is not understood: {refused}") from None

    def _do(self, message: RemoteMessage) -> None:
        match message:
            case Open():
                self._open(message)
            case Run():
                self._runner.run(message, self._opened)
            case Fetch():
                from forge.serve.fetching import send_files  # not in most connections

                send_files(self.channel, self._opened.root, self._runner.target_dir, message)
            case Attach():
                self._jobs.attach(self.channel, message)
            case _:
                raise ProtocolMismatch(f"{message.frame.name} does not belong here")

    def _open(self, message: Open) -> None:
        refusal = project_refusal(self.rules, message.project)
        if refusal:
            raise NotAllowed(refusal)
        self.area = None
        area = Area(areas_dir(self.host), self.rules, message.project, message.checkout)
        take_tree(self.channel, area, message)
        self.area = area

    @property
    def _opened(self) -> Area:
        if self.area is None:
            raise ProtocolMismatch("there is no tree: OPEN comes first")
        return self.area

    def _refuse(self, error: ForgeError) -> int:
        """Tell the client why we go no further."""
        try:
            self.channel.send(
                Error(
                    slug=error.slug,
                    message=_printable(error.message),
                    hint=_printable(error.hint or ""),
                    exit_code=error.exit_code,
                )
            )
            self.channel.flush()
        except ForgeError:
            pass  # it is gone, and will not hear it
        return error.exit_code


def _printable(text: str) -> str:
    return "".join(c if c.isprintable() else "\N{REPLACEMENT CHARACTER}" for c in text)[:2000]
