"""The loop of `forge top`: waits for keys, signals, the daemon and the clock, and draws.

Nothing here decides: keys go to the choice, requests to the talk, and the view makes the picture.
"""

import errno
import os
import select
import signal
import sys
import time
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from rich.console import Console
from rich.segment import Segments

from forge.cli.render import console
from forge.cli.top_choice import Choice
from forge.cli.top_keys import ESCAPE_S, KeyReader
from forge.cli.top_screen import Screen
from forge.cli.top_signals import Signals
from forge.cli.top_talk import Talk
from forge.cli.top_view import top_view

NOTE_S = 5.0
"""How long a note stays where the keys are explained otherwise."""


def run(env: Mapping[str, str]) -> int | None:
    """Show what goes on until somebody quits; return the signal that is to end us, if one is."""
    talk = Talk(env)
    screen = Screen(sys.stdin.fileno(), sys.stdout.fileno(), sys.stdout.encoding)
    try:
        with Signals() as signals, screen:
            return Top(talk, screen, signals).run()
    except OSError as error:
        if error.errno != errno.EIO:
            raise
        return signal.SIGHUP  # the terminal is gone, which is heard of in two ways
    finally:
        talk.close()


class Top:
    """One `forge top`. `_noted_s`: since when the note `_note` is shown; `_drawn`: of what the
    picture on the screen was made.
    """

    def __init__(self, talk: Talk, screen: Screen, signals: Signals) -> None:
        self._talk = talk
        self._screen = screen
        self._signals = signals
        self._choice = Choice()
        self._keys = KeyReader()
        self._console = console()
        self._report: dict[str, Any] = {}
        self._reports = 0
        self._drawn: object = None
        self._note = ""
        self._noted_s = 0.0

    def run(self) -> int | None:
        """Go on until somebody quits, or a signal says so."""
        while not self._choice.is_over:
            self._talk.tick(time.monotonic())
            self._forget_note(time.monotonic())
            self._draw()
            ready = self._wait()
            if self._signals in ready:
                ending = self._obey(self._signals.arrived())
                if ending is not None:
                    return ending
            self._read_keys(is_ready=self._screen.keys in ready)
            self._read_daemon()
        return None

    def _wait(self) -> list[Any]:
        """Wait until there is something to do; return what can be read."""
        sources: list[Any] = [self._screen.keys, self._signals, *self._talk.descriptors()]
        patience_s = self._talk.due_in_s(time.monotonic())
        if self._keys.is_waiting:
            patience_s = min(ESCAPE_S, patience_s)
        return select.select(sources, [], [], patience_s)[0]

    def _obey(self, numbers: list[int]) -> int | None:
        """Do what signals ask for; return the one that ends us."""
        for number in numbers:
            if number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
                return number
            if number == signal.SIGTSTP:
                self._screen.give_back()
                os.kill(os.getpid(), signal.SIGSTOP)
                self._screen.take()
            if number in (signal.SIGTSTP, signal.SIGWINCH):
                self._start_over()
        return None

    def _read_keys(self, *, is_ready: bool) -> None:
        if is_ready:
            piece = os.read(self._screen.keys, 1024)
            self._choice.is_over |= not piece  # the terminal is gone
            keys = self._keys.feed(piece)
        else:
            keys = self._keys.settle() if self._keys.is_waiting else []
        for key in keys:
            if key == "ctrl-l":
                self._start_over()
            request = self._choice.press(key, self._report)
            if request:
                self._choice.note = self._talk.request(request, time.monotonic())

    def _read_daemon(self) -> None:
        for reply in self._talk.read(time.monotonic()):
            if reply["type"] == "status":
                status = reply.get("status")
                self._report = status if isinstance(status, dict) else {}
                self._reports += 1
                self._choice.sees(self._report)
            elif reply["type"] == "ok":
                self._choice.note = str(reply.get("line", ""))
            else:
                hint = f" ({reply['hint']})" if reply.get("hint") else ""
                self._choice.note = f"{reply.get('message')}{hint}"

    def _start_over(self) -> None:
        """Draw all of the picture, whatever may be on the screen."""
        self._screen.forget()
        self._drawn = None

    def _forget_note(self, now_s: float) -> None:
        """Take a note away that everybody has read by now."""
        if self._choice.note != self._note:
            self._note, self._noted_s = self._choice.note, now_s
        elif now_s - self._noted_s > NOTE_S:
            self._choice.note = self._note = ""

    def _draw(self) -> None:
        """Draw, unless it would be the same picture."""
        width, height = self._screen.size()
        drawn = (self._reports, self._talk.problem, replace(self._choice), width, height)
        if drawn == self._drawn:
            return
        view = top_view(self._report, self._choice, self._talk.problem, width, height)
        self._screen.show(picture(self._console, view, width, height))
        self._drawn = drawn


def picture(out: Console, view: Any, width: int, height: int) -> list[str]:
    """Return a view as lines of exactly `width` cells, as a terminal takes them."""
    options = out.options.update(width=width, height=height, no_wrap=True)
    lines = []
    for line in out.render_lines(view, options, pad=True)[:height]:
        with out.capture() as captured:
            out.print(Segments(line), end="", width=width, crop=False, soft_wrap=True)
        lines.append(captured.get())
    return lines
