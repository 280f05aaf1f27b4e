//! What every gate has in hand while what it was granted runs: its connection, which is the lease.
//!
//! The daemon may be replaced meanwhile. Then the gate looks for the new one once a second and tells
//! it what runs, so that it is counted without having been asked for. A daemon that refuses is left
//! alone. Nothing of this is ever said on stderr, and nothing the daemon says can spoil the work,
//! except `end`. What it has stopped with `pause` goes on when it is gone: nobody else would say so.

use std::time::{Duration, Instant};

use crate::child::{Attendant, Child, Ending};
use crate::lease::{self, Request};
use crate::message::{self, Message};
use crate::peer::{Failure, Look, Peer};
use crate::sys;

const SEEK_EVERY: Duration = Duration::from_secs(1);
const END_GRACE: Duration = Duration::from_secs(2);
const PARTING_PATIENCE: Duration = Duration::from_millis(100);

pub struct Held {
    request: Request,
    peer: Option<Peer>,
    /// When to look for a new daemon; None while there is one, and after it has refused.
    seek_at: Option<Instant>,
    /// A new daemon was told that we run, and has not answered.
    is_unanswered: bool,
    ending: Option<Ending>,
    is_paused: bool,
}

impl Held {
    /// Hold what was granted on `peer`.
    pub fn new(request: Request, peer: Peer) -> Held {
        Held {
            request,
            peer: Some(peer),
            seek_at: None,
            is_unanswered: false,
            ending: None,
            is_paused: false,
        }
    }

    /// The daemon has told us to end what runs.
    pub fn is_ending(&self) -> bool {
        self.ending.is_some()
    }

    /// Do what is due; return the next word of the daemon's that is not for every gate.
    pub fn hear(&mut self, child: &Child) -> Option<Vec<u8>> {
        if let Some(ending) = &mut self.ending {
            ending.attend(child);
        }
        if self.seek_at.is_some_and(|at| Instant::now() >= at) {
            self.seek();
        }
        while let Some(peer) = &mut self.peer {
            match peer.look() {
                Look::Nothing => return None,
                Look::Gone => {
                    self.resume(child);
                    self.lose();
                }
                Look::Line(line) => {
                    let word = self.heed(&line, child);
                    if word.is_some() {
                        return word;
                    }
                }
            }
        }
        None
    }

    /// Do what a line says, if that is the same for every gate; else return its first word.
    fn heed(&mut self, line: &[u8], child: &Child) -> Option<Vec<u8>> {
        let (word, _) = message::read(line)?;
        match word.as_slice() {
            b"go" => self.is_unanswered = false,
            b"error" if self.is_unanswered => self.peer = None,
            b"pause" if self.ending.is_none() => {
                child.signal(sys::SIGSTOP);
                self.is_paused = true;
            }
            b"resume" => self.resume(child),
            b"end" if self.ending.is_none() => {
                self.ending = Some(Ending::of(child, END_GRACE));
            }
            _ => return Some(word),
        }
        None
    }

    fn resume(&mut self, child: &Child) {
        if std::mem::take(&mut self.is_paused) {
            child.signal(sys::SIGCONT);
        }
    }

    /// Tell how it has ended; a daemon that does not listen any more is no concern of ours.
    pub fn report(&mut self, report: Message) {
        if let (Some(peer), Some(line)) = (&self.peer, report.line()) {
            let _ = peer.send(&line, PARTING_PATIENCE);
        }
    }

    /// Wait until it may run once more; None means that there is no daemon to obey.
    pub fn await_go(self) -> Option<Held> {
        lease::await_go(self.request, self.peer.ok_or(Failure::HungUp))
    }

    fn lose(&mut self) {
        self.peer = None;
        self.seek_at = Some(Instant::now() + SEEK_EVERY);
    }

    fn seek(&mut self) {
        self.lose();
        if let Ok(peer) = self.request.tell() {
            self.peer = Some(peer);
            self.seek_at = None;
            self.is_unanswered = true;
        }
    }
}

impl Attendant for Held {
    fn fd(&self) -> Option<i32> {
        self.peer.as_ref().map(Peer::fd)
    }

    fn due_at(&self) -> Option<Instant> {
        let kill_at = self.ending.as_ref().map(Ending::due_at);
        kill_at.into_iter().chain(self.seek_at).min()
    }

    fn attend(&mut self, child: &Child) {
        while self.hear(child).is_some() {}
    }
}
