//! Lines for people on stderr.

use std::io::Write;
use std::time::{Duration, Instant};

use crate::sys;

const FIRST_ON_TERMINAL: Duration = Duration::from_millis(500);
const FIRST_ELSEWHERE: Duration = Duration::from_secs(1);
const AGAIN_ELSEWHERE: Duration = Duration::from_secs(30);

/// Say one line, unless FORGE_QUIET forbids it.
pub fn say(line: &str) {
    if !sys::is_on("FORGE_QUIET") {
        report(line);
    }
}

/// Say one line to a quiet person as well: nothing runs, or they asked for it.
pub fn report(line: &str) {
    write(&format!("forge: {line}\n"));
}

/// Write to stderr; one that nobody reads is no reason to fail (`eprintln!` would panic).
pub fn write(text: &str) {
    let _ = std::io::stderr().write_all(text.as_bytes());
}

/// Text from elsewhere without control characters, which could repaint a terminal.
pub fn printable(bytes: &[u8]) -> String {
    let text = String::from_utf8_lossy(bytes);
    text.chars()
        .map(|c| if c.is_control() { '?' } else { c })
        .collect()
}

/// Why the build waits: one line that changes on a terminal, a line now and then elsewhere.
pub struct WaitLine {
    columns: Option<usize>,
    quiet: bool,
    began: Instant,
    reason: Option<String>,
    said_at: Option<Instant>,
    painted: bool,
}

impl WaitLine {
    pub fn new() -> WaitLine {
        let columns = sys::is_terminal(2).then(|| sys::columns(2).unwrap_or(80));
        WaitLine {
            columns,
            quiet: sys::is_on("FORGE_QUIET"),
            began: Instant::now(),
            reason: None,
            said_at: None,
            painted: false,
        }
    }

    pub fn reason(&mut self, reason: &[u8]) {
        self.reason = Some(printable(reason));
        self.show();
    }

    /// When `show` has something to do even if no further reason comes.
    pub fn due_at(&self) -> Option<Instant> {
        let first = self.columns.map_or(FIRST_ELSEWHERE, |_| FIRST_ON_TERMINAL);
        (self.reason.is_some() && self.said_at.is_none() && !self.quiet).then(|| self.began + first)
    }

    pub fn show(&mut self) {
        let Some(reason) = &self.reason else { return };
        let now = Instant::now();
        let due = match (self.said_at, self.columns) {
            (None, _) => self.due_at().is_some_and(|at| now >= at),
            (Some(_), Some(_)) => true,
            (Some(at), None) => now >= at + AGAIN_ELSEWHERE,
        };
        if !due {
            return;
        }
        let waited_s = self.began.elapsed().as_secs();
        let line = match waited_s {
            0 => reason.clone(),
            _ => format!("{reason} ({waited_s} s)"),
        };
        match self.columns {
            None => report(&line),
            Some(columns) => self.paint(&line, columns),
        }
        self.said_at = Some(now);
    }

    fn paint(&mut self, line: &str, columns: usize) {
        let text: String = format!("forge: {line}").chars().take(columns - 1).collect();
        write(&format!("\r{text}\x1b[K"));
        self.painted = true;
    }

    /// Leave the terminal as it was found.
    pub fn erase(&mut self) {
        if std::mem::take(&mut self.painted) {
            write("\r\x1b[K");
        }
    }
}
