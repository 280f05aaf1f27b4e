//! A gate's lease: asked for, held open while the tool runs, closed with a report.
//!
//! A gate fails open and says nothing. A daemon that hangs (stopped, swapped out) would cost each
//! gate its whole patience, so the first one leaves a mark, and for a while the others wait less.

use std::path::{Path, PathBuf};
use std::time::Duration;

use crate::message::Message;
use crate::peer::{Failure, Peer, PATIENCE};
use crate::sys;

const PATIENCE_WITH_THE_HUNG: Duration = Duration::from_millis(100);
const MARK_HOLDS: Duration = Duration::from_secs(30);
const PARTING_PATIENCE: Duration = Duration::from_millis(100);

/// Ask and wait for `go`; None means that there is no daemon to obey.
pub fn ask(socket: &Path, request: Message) -> Option<Peer> {
    let line = request.line()?;
    let mark = socket.with_file_name("gate.hung");
    let patience = patience(&mark);
    match try_ask(socket, &line, patience) {
        Ok(peer) => {
            if patience != PATIENCE {
                let _ = std::fs::remove_file(&mark); // it is awake again
            }
            Some(peer)
        }
        Err(failure) => {
            // A short wait proves nothing: it must not prolong itself.
            if matches!(failure, Failure::Silent) && patience == PATIENCE {
                let _ = std::fs::write(&mark, b"");
            }
            debug(&failure.to_string());
            None
        }
    }
}

fn try_ask(socket: &Path, line: &[u8], patience: Duration) -> Result<Peer, Failure> {
    let mut peer = Peer::connect(socket, patience)?;
    peer.send(line, patience)?;
    peer.await_go(patience)?;
    Ok(peer)
}

fn patience(mark: &PathBuf) -> Duration {
    let left_at = std::fs::metadata(mark).and_then(|found| found.modified());
    let is_fresh = left_at.is_ok_and(|at| at.elapsed().map_or(true, |age| age < MARK_HOLDS));
    if is_fresh {
        PATIENCE_WITH_THE_HUNG
    } else {
        PATIENCE
    }
}

/// Report the end; a daemon that does not listen any more is no concern of ours.
pub fn close(peer: &mut Peer, report: Message) {
    if let Some(line) = report.line() {
        let _ = peer.send(&line, PARTING_PATIENCE);
    }
}

/// Say something only to those who look for it.
pub fn debug(line: &str) {
    if sys::var("FORGE_LOG").is_some_and(|level| level == "debug") {
        crate::waitline::report(line);
    }
}
