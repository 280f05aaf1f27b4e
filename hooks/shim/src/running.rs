//! A running build's side of the connection: it prints what the daemon says, ends cargo when it is
//! told to, looks for a new daemon when the old one is gone, and knows in the end whether the build
//! is over or begins anew.

use std::ffi::OsString;
use std::os::unix::ffi::OsStrExt;
use std::time::{Duration, Instant};

use crate::begin;
use crate::child::{Attendant, Child, Ended, Ending, FATAL};
use crate::json::Value;
use crate::message::{self, Message};
use crate::peer::{Look, Peer, PATIENCE};
use crate::places;
use crate::plan::Plan;
use crate::sys::{self, Signals};
use crate::waitline;

const RECONNECT_EVERY: Duration = Duration::from_secs(1);
const RECONNECT_AFTER_REFUSAL: Duration = Duration::from_secs(30);
const PARTING_PATIENCE: Duration = Duration::from_millis(100);
const END_GRACE: Duration = Duration::from_secs(5);

/// What cargo exits with when something did not compile.
const EXIT_FAILED: i32 = 101;

pub struct Build {
    pub plan: Plan,
    args: Vec<OsString>,
    peer: Option<Peer>,
    /// An answer to `adopt` is due until then.
    answer_due: Option<Instant>,
    reconnect_at: Instant,
    ending: Option<Ending>,
    /// What to bring back when the build begins anew.
    again: Option<Vec<u8>>,
    is_cancelled: bool,
}

impl Build {
    pub fn new(peer: Peer, plan: Plan, args: &[OsString]) -> Build {
        let reconnect_at = Instant::now() + RECONNECT_EVERY;
        Build {
            plan,
            args: args.to_vec(),
            peer: Some(peer),
            answer_due: None,
            reconnect_at,
            ending: None,
            again: None,
            is_cancelled: false,
        }
    }

    /// Tell how cargo has ended. Returns what to bring back if the build begins anew.
    pub fn finish(mut self, child: &Child, ended: &Ended, signals: &Signals) -> Option<Vec<u8>> {
        self.listen(child); // what was said before it ended counts
        self.send(Message::new("ended").outcome(ended));
        let has_failed = ended.status.signal().is_none() && ended.status.code() == EXIT_FAILED;
        if has_failed && self.plan.requeues && self.again.is_none() && !self.is_cancelled {
            self.await_answer();
        }
        let has_succeeded = ended.status.signal().is_none() && ended.status.code() == 0;
        let is_interrupted = child.fatal_signal().is_some()
            || signals
                .arrived()
                .iter()
                .any(|arrival| FATAL.contains(&arrival.signal));
        let is_over = has_succeeded || is_interrupted || self.is_cancelled;
        self.again.filter(|_| !is_over)
    }

    /// Hear what becomes of a build that has failed.
    fn await_answer(&mut self) {
        let deadline = Instant::now() + PATIENCE;
        while let Some(Ok((kind, value))) = self.peer.as_mut().map(|peer| peer.next(deadline)) {
            match kind.as_slice() {
                b"say" => waitline::say_line_of(&value),
                b"over" | b"end" => return waitline::report_line_of(&value),
                b"requeue" => return self.begin_anew(&value),
                _ => {}
            }
        }
    }

    fn begin_anew(&mut self, value: &Value) {
        if let Some(again) = value.get("again").and_then(Value::text) {
            waitline::say_line_of(value);
            self.again = Some(again.to_vec());
        }
    }

    pub fn send(&mut self, message: Message) {
        if let (Some(peer), Some(line)) = (&self.peer, message.line()) {
            let _ = peer.send(&line, PARTING_PATIENCE); // a daemon that is gone is noticed when reading
        }
    }

    fn lose(&mut self, again_in: Duration) {
        self.peer = None;
        self.answer_due = None;
        self.reconnect_at = Instant::now() + again_in;
    }

    fn listen(&mut self, child: &Child) {
        while let Some(peer) = &mut self.peer {
            match peer.look() {
                Look::Nothing => return,
                Look::Gone => self.lose(RECONNECT_EVERY),
                Look::Line(line) => self.hear(&line, child),
            }
        }
    }

    fn hear(&mut self, line: &[u8], child: &Child) {
        let Some((kind, value)) = message::read(line) else {
            return;
        };
        match kind.as_slice() {
            b"say" => waitline::say_line_of(&value),
            b"end" if !self.is_cancelled => {
                waitline::report_line_of(&value);
                self.is_cancelled = true;
                self.end(child);
            }
            b"requeue" if self.plan.requeues && self.ending.is_none() => {
                self.begin_anew(&value);
                self.end(child);
            }
            b"adopted" => {
                self.answer_due = None;
                self.plan.requeues = false; // it does not know that we could
                if let Some(build) = value.get("build").and_then(Value::text) {
                    self.plan.build = build.to_vec();
                }
            }
            b"error" if self.answer_due.is_some() => self.lose(RECONNECT_AFTER_REFUSAL),
            _ => {}
        }
    }

    fn end(&mut self, child: &Child) {
        self.ending
            .get_or_insert_with(|| Ending::of(child, END_GRACE));
    }

    fn adopt(&mut self, cargo_pid: i32) {
        self.reconnect_at = Instant::now() + RECONNECT_EVERY;
        let Some(state_dir) = places::state_dir() else {
            return;
        };
        let Ok(peer) = Peer::connect(&state_dir.join("forged.sock"), Duration::ZERO) else {
            return;
        };
        let lender = begin::lender(&sys::var);
        let message = Message::first("adopt")
            .text("client", crate::VERSION.as_bytes())
            .integer("pid", i64::from(sys::pid()))
            .text("build", &self.plan.build)
            .integer("cargo_pid", i64::from(cargo_pid))
            .text("cwd", &begin::here())
            .words("argv", &self.args)
            .text_or_null("target_dir", self.plan.target_dir.as_deref())
            .text_or_null("jobserver", self.plan.jobserver.as_deref())
            .integer_or_null("tokens", self.plan.tokens)
            .text_or_null("lender", lender.as_ref().map(|id| id.as_bytes()));
        self.peer = Some(peer);
        self.answer_due = Some(Instant::now() + PATIENCE);
        self.send(message);
    }
}

impl Attendant for Build {
    fn fd(&self) -> Option<i32> {
        self.peer.as_ref().map(Peer::fd)
    }

    fn due_at(&self) -> Option<Instant> {
        let due_at = match self.peer {
            None => Some(self.reconnect_at),
            Some(_) => self.answer_due,
        };
        let kill_at = self.ending.as_ref().map(Ending::due_at);
        due_at.into_iter().chain(kill_at).min()
    }

    fn attend(&mut self, child: &Child) {
        self.listen(child);
        if let Some(ending) = &mut self.ending {
            ending.attend(child);
        }
        let now = Instant::now();
        if self.answer_due.is_some_and(|at| now >= at) {
            self.lose(RECONNECT_EVERY);
        }
        if self.peer.is_none() && now >= self.reconnect_at {
            self.adopt(child.pid);
        }
    }
}
