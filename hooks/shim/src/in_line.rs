//! In line: waiting for the daemon's word, with the reason shown meanwhile.
//!
//! Nothing has been started yet, so a signal ends us as it would end any program, but for the line
//! on the terminal, which goes first.

use std::time::Instant;

use crate::json::Value;
use crate::message;
use crate::peer::{self, Failure, Look, Peer, PATIENCE};
use crate::plan::Plan;
use crate::sys::{self, PollFd, Signals, Status};
use crate::waitline::{self, WaitLine};

/// What the daemon says in the end.
pub enum Word {
    /// Start cargo like this.
    Go(Box<Plan>),
    /// Start nothing: say the line and exit.
    End { line: Option<String>, exit: i32 },
}

/// Wait for ever, as long as the daemon keeps saying that we should.
pub fn await_word(peer: &mut Peer, signals: &Signals) -> Result<Word, Failure> {
    let mut shown = WaitLine::new();
    let word = listen(peer, signals, &mut shown);
    obey(signals, &mut shown);
    shown.erase();
    word
}

fn listen(peer: &mut Peer, signals: &Signals, shown: &mut WaitLine) -> Result<Word, Failure> {
    let mut silent_at = Instant::now() + PATIENCE;
    loop {
        match peer.look() {
            Look::Gone => return Err(Failure::HungUp),
            Look::Nothing if Instant::now() >= silent_at => return Err(Failure::Silent),
            Look::Nothing => {}
            Look::Line(line) => {
                silent_at = Instant::now() + PATIENCE;
                match hear(&line, shown)? {
                    None => continue,
                    Some(word) => return Ok(word),
                }
            }
        }
        let mut fds = [peer.fd(), signals.fd()].map(|fd| PollFd {
            fd,
            events: sys::POLLIN,
            revents: 0,
        });
        let wake_at = shown.due_at().map_or(silent_at, |at| at.min(silent_at));
        sys::wait_ready(&mut fds, Some(wake_at));
        obey(signals, shown);
        shown.show();
    }
}

fn hear(line: &[u8], shown: &mut WaitLine) -> Result<Option<Word>, Failure> {
    let (kind, value) = message::read(line).ok_or(Failure::Garbage)?;
    match kind.as_slice() {
        b"go" => {
            let plan = Plan::read(&value).ok_or(Failure::Unfollowable)?;
            return Ok(Some(Word::Go(Box::new(plan))));
        }
        b"end" => return end(&value).map(Some).ok_or(Failure::Garbage),
        b"error" => return Err(peer::refusal(&value)),
        b"wait" => {
            let reason = value.get("reason").and_then(Value::text);
            let since_s = value.get("since_s").and_then(Value::number);
            shown.waits(reason.unwrap_or(b"waiting"), since_s.unwrap_or(0.0));
        }
        b"say" => {
            shown.erase();
            waitline::say_line_of(&value);
        }
        _ => return Err(Failure::Garbage),
    }
    Ok(None)
}

fn end(value: &Value) -> Option<Word> {
    let exit = value.get("exit")?.number()?;
    let is_code = (0.0..=255.0).contains(&exit) && exit.fract() == 0.0;
    is_code.then(|| Word::End {
        line: waitline::line_of(value),
        exit: exit as i32,
    })
}

fn obey(signals: &Signals, shown: &mut WaitLine) {
    for arrival in signals.arrived() {
        match arrival.signal {
            sys::SIGCHLD | sys::SIGCONT => {}
            sys::SIGWINCH => shown.refresh(),
            sys::SIGTSTP => {
                shown.erase();
                signals.stop_self();
                shown.refresh();
            }
            signal => {
                shown.erase();
                sys::end_like(Status(signal))
            }
        }
    }
}
