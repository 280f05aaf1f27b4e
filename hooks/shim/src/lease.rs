//! Asking the daemon for leave: a gate's request, and the wait for its answer.
//!
//! A gate fails open and says nothing. A daemon that hangs (stopped, swapped out) would cost each
//! gate its whole patience, so the first one leaves a mark, and for a while the others wait less.
//! A daemon that goes away while a gate waits may only have been replaced: the gate asks the next.

use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use crate::held::Held;
use crate::message::Message;
use crate::peer::{self, Failure, Peer, PATIENCE};
use crate::sys::{self, Status};

const PATIENCE_WITH_THE_HUNG: Duration = Duration::from_millis(100);
const MARK_HOLDS: Duration = Duration::from_secs(30);
const REPLACED_WITHIN: Duration = Duration::from_secs(3);
const SEEK_INTERVAL: Duration = Duration::from_millis(25);

/// What a gate asks for: `unit`, `link` or `test`, as often as a daemon has to be asked.
pub struct Request {
    socket: PathBuf,
    message: Message,
}

/// Ask and wait for `go`; None means that there is no daemon to obey.
pub fn ask(socket: &Path, message: Message) -> Option<Held> {
    let request = Request {
        socket: socket.to_owned(),
        message,
    };
    let asked = request.ask(request.patience());
    await_go(request, asked)
}

/// Wait for `go` where it was asked for, or with the daemon that takes that one's place.
pub fn await_go(request: Request, asked: Result<Peer, Failure>) -> Option<Held> {
    let patience = request.patience();
    match request.await_go(asked, patience) {
        Ok(peer) => {
            if patience != PATIENCE {
                let _ = std::fs::remove_file(request.mark()); // it is awake again
            }
            Some(Held::new(request, peer))
        }
        Err(failure) => {
            // A short wait proves nothing: it must not prolong itself.
            if matches!(failure, Failure::Silent) && patience == PATIENCE {
                let _ = std::fs::write(request.mark(), b"");
            }
            debug(&failure.to_string());
            None
        }
    }
}

impl Request {
    /// Tell a daemon, if one listens now, of what runs already.
    pub fn tell(&self) -> Result<Peer, Failure> {
        self.send(true, Duration::ZERO)
    }

    fn ask(&self, patience: Duration) -> Result<Peer, Failure> {
        self.send(false, patience)
    }

    fn send(&self, runs: bool, patience: Duration) -> Result<Peer, Failure> {
        let line = self.message.clone().flag("running", runs).line();
        let line = line.ok_or(Failure::TooLong)?;
        let peer = Peer::connect(&self.socket, patience)?;
        peer.send(&line, patience)?;
        Ok(peer)
    }

    /// Wait for `go`, for ever, as long as a daemon keeps saying that we should.
    fn await_go(
        &self,
        mut asked: Result<Peer, Failure>,
        patience: Duration,
    ) -> Result<Peer, Failure> {
        let mut give_up_at = None;
        loop {
            let mut has_answered = false;
            match asked.and_then(|peer| listen(peer, patience, &mut has_answered)) {
                Err(Failure::HungUp) => {}
                other => return other,
            }
            if has_answered {
                give_up_at = None; // that one worked: the next has its time from now
            }
            let by = *give_up_at.get_or_insert_with(|| Instant::now() + REPLACED_WITHIN);
            asked = Ok(self.ask_the_next(patience, by)?);
        }
    }

    /// Ask whoever listens next, until then.
    fn ask_the_next(&self, patience: Duration, give_up_at: Instant) -> Result<Peer, Failure> {
        while Instant::now() < give_up_at {
            std::thread::sleep(SEEK_INTERVAL);
            match self.ask(patience) {
                Err(Failure::NobodyListens | Failure::HungUp) => {}
                other => return other,
            }
        }
        Err(Failure::HungUp)
    }

    fn mark(&self) -> PathBuf {
        self.socket.with_file_name("gate.hung")
    }

    fn patience(&self) -> Duration {
        let left_at = std::fs::metadata(self.mark()).and_then(|found| found.modified());
        let is_fresh = left_at.is_ok_and(|at| at.elapsed().map_or(true, |age| age < MARK_HOLDS));
        if is_fresh {
            PATIENCE_WITH_THE_HUNG
        } else {
            PATIENCE
        }
    }
}

/// Listen until it is `go`, at `first` with that much patience.
fn listen(mut peer: Peer, first: Duration, has_answered: &mut bool) -> Result<Peer, Failure> {
    loop {
        let patience = if *has_answered { PATIENCE } else { first };
        let (kind, value) = peer.next(Instant::now() + patience)?;
        match kind.as_slice() {
            b"go" => return Ok(peer),
            b"error" => return Err(peer::refusal(&value)),
            b"end" => sys::end_like(Status(sys::SIGTERM)),
            b"wait" | b"say" => *has_answered = true,
            _ => return Err(Failure::Garbage),
        }
    }
}

/// Say something only to those who look for it.
pub fn debug(line: &str) {
    if sys::var("FORGE_LOG").is_some_and(|level| level == "debug") {
        crate::waitline::report(line);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Write;
    use std::os::unix::net::{UnixListener, UnixStream};

    const WAIT: &[u8] = b"{\"type\":\"wait\",\"reason\":\"cores\",\"since_s\":0}\n";
    const GO: &[u8] = b"{\"type\":\"go\"}\n";

    /// A connection, by the name of its test, and the daemon's end of it.
    fn connected(name: &str) -> (Peer, UnixStream) {
        let path = std::env::temp_dir().join(format!("forge-{}-{name}", sys::pid()));
        let listener = UnixListener::bind(&path).unwrap();
        let peer = Peer::connect(&path, PATIENCE).unwrap();
        std::fs::remove_file(&path).unwrap();
        (peer, listener.accept().unwrap().0)
    }

    #[test]
    fn patience_is_short_only_until_the_first_answer() {
        let (peer, mut daemon) = connected("short");
        daemon.write_all(WAIT).unwrap();
        let later = std::thread::spawn(move || {
            std::thread::sleep(Duration::from_millis(300));
            daemon.write_all(GO).unwrap();
        });
        let mut has_answered = false;
        assert!(listen(peer, Duration::from_millis(1), &mut has_answered).is_ok());
        assert!(has_answered);
        later.join().unwrap();
    }

    #[test]
    fn what_is_not_go_is_told_apart() {
        let cases: [(&str, &[u8], bool, &str); 5] = [
            ("garbage", b"nonsense\n", false, "makes no sense"),
            (
                "unknown",
                b"{\"type\":\"explode\"}\n",
                false,
                "makes no sense",
            ),
            (
                "error",
                b"{\"type\":\"error\",\"message\":\"no\"}\n",
                false,
                "refuses: no",
            ),
            ("silence", WAIT, false, "does not answer"),
            ("end", b"{\"type\":\"go", true, "hung up"),
        ];
        for (name, said, hangs_up, told) in cases {
            let (peer, mut daemon) = connected(name);
            daemon.write_all(said).unwrap();
            let kept = (!hangs_up).then_some(daemon);
            let Err(failure) = listen(peer, Duration::from_millis(1), &mut false) else {
                panic!("{name} was taken for `go`")
            };
            assert!(failure.to_string().ends_with(told), "{name}: {failure}");
            drop(kept);
        }
    }
}
