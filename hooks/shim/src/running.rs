//! A running build's side of the connection: it prints what the daemon says, ends cargo when it is
//! told to, and looks for a new daemon when the old one is gone.

use std::ffi::OsString;
use std::os::unix::ffi::OsStrExt;
use std::time::{Duration, Instant};

use crate::begin;
use crate::child::{Attendant, Child, Ending};
use crate::json::Value;
use crate::message::{self, Message};
use crate::peer::{Look, Peer, PATIENCE};
use crate::places;
use crate::plan::Plan;
use crate::sys;
use crate::waitline;

const RECONNECT_EVERY: Duration = Duration::from_secs(1);
const RECONNECT_AFTER_REFUSAL: Duration = Duration::from_secs(30);
const PARTING_PATIENCE: Duration = Duration::from_millis(100);
const END_GRACE: Duration = Duration::from_secs(5);

pub struct Build {
    pub plan: Plan,
    args: Vec<OsString>,
    peer: Option<Peer>,
    /// An answer to `adopt` is due until then.
    answer_due: Option<Instant>,
    reconnect_at: Instant,
    ending: Option<Ending>,
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
            b"end" if self.ending.is_none() => {
                waitline::report_line_of(&value);
                self.ending = Some(Ending::of(child, END_GRACE));
            }
            b"adopted" => {
                self.answer_due = None;
                if let Some(build) = value.get("build").and_then(Value::text) {
                    self.plan.build = build.to_vec();
                }
            }
            b"error" if self.answer_due.is_some() => self.lose(RECONNECT_AFTER_REFUSAL),
            _ => {}
        }
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
