//! Lines for people on stderr.

use std::io::Write;
use std::time::{Duration, Instant};

use crate::json::Value;
use crate::sys;

const FIRST_ON_TERMINAL: Duration = Duration::from_millis(500);
const FIRST_ELSEWHERE: Duration = Duration::from_secs(1);
const AGAIN_ELSEWHERE: Duration = Duration::from_secs(30);
/// Columns for the `^C` that a terminal echoes, and the last one: what wraps cannot be erased.
const KEPT_FREE: usize = 3;
/// To this the daemon rounds: 0.98 s are 1 s.
const TENTH: Duration = Duration::from_millis(100);

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

/// Say the `line` of a message, if it has one.
pub fn say_line_of(value: &Value) {
    line_of(value).iter().for_each(|line| say(line));
}

/// Say it to a quiet person as well.
pub fn report_line_of(value: &Value) {
    line_of(value).iter().for_each(|line| report(line));
}

/// The `line` of a message, fit to be shown.
pub fn line_of(value: &Value) -> Option<String> {
    value.get("line").and_then(Value::text).map(printable)
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
///
/// Elsewhere another line follows only when the kind of the reason has changed, and not soon.
pub struct WaitLine {
    is_terminal: bool,
    is_quiet: bool,
    began: Instant,
    reason: Option<String>,
    /// Since when the build waits, as the daemon has it.
    since: Instant,
    /// When a line was said last, and of which kind its reason was.
    said: Option<(Instant, String)>,
    /// What the terminal shows is not the latest.
    is_stale: bool,
    is_painted: bool,
}

impl WaitLine {
    pub fn new() -> WaitLine {
        WaitLine {
            is_terminal: sys::is_terminal(2)
                && !sys::var("TERM").is_some_and(|term| term == "dumb"),
            is_quiet: sys::is_on("FORGE_QUIET"),
            began: Instant::now(),
            reason: None,
            since: Instant::now(),
            said: None,
            is_stale: false,
            is_painted: false,
        }
    }

    /// Take in why the build waits, and since how many seconds.
    pub fn waits(&mut self, reason: &[u8], since_s: f64) {
        self.reason = Some(printable(reason));
        let waited = Duration::try_from_secs_f64(since_s).unwrap_or_default();
        let now = Instant::now();
        self.since = now.checked_sub(waited).unwrap_or(now);
        self.refresh();
    }

    /// Show it anew: what is shown may be old, gone, or too wide by now.
    pub fn refresh(&mut self) {
        self.is_stale = true;
        self.show();
    }

    /// When `show` has something to do, even if no further reason comes.
    pub fn due_at(&self) -> Option<Instant> {
        let reason = self.reason.as_ref().filter(|_| !self.is_quiet)?;
        match &self.said {
            None if self.is_terminal => Some(self.began + FIRST_ON_TERMINAL),
            None => Some(self.began + FIRST_ELSEWHERE),
            Some((at, _)) if self.is_terminal => self.is_stale.then_some(*at),
            Some((at, kind)) => (kind_of(reason) != *kind).then(|| *at + AGAIN_ELSEWHERE),
        }
    }

    /// Say what is due.
    pub fn show(&mut self) {
        let now = Instant::now();
        let is_due = self.due_at().is_some_and(|at| now >= at);
        let Some(reason) = self.reason.as_ref().filter(|_| is_due) else {
            return;
        };
        let line = format!(
            "forge: {reason}{}",
            since((self.since.elapsed() + TENTH).as_secs())
        );
        self.said = Some((now, kind_of(reason)));
        self.is_stale = false;
        if self.is_terminal {
            let columns = sys::columns(2).unwrap_or(80);
            let shown = cut(&line, columns.saturating_sub(KEPT_FREE));
            write(&format!("\r{shown}\x1b[K"));
            self.is_painted = true;
        } else {
            write(&format!("{line}\n"));
        }
    }

    /// Leave the terminal as it was found.
    pub fn erase(&mut self) {
        if std::mem::take(&mut self.is_painted) {
            write("\r\x1b[K");
        }
    }
}

/// The kind of a reason: its words before the first `:`, `;` or `(`, whatever numbers are in them.
fn kind_of(reason: &str) -> String {
    let kind = reason.split([':', ';', '(']).next().unwrap_or_default();
    kind.chars().filter(|c| !c.is_ascii_digit()).collect()
}

/// For how long, with the two largest units: ` (12 s)`, ` (3 min 20 s)`; nothing below a second.
fn since(seconds: u64) -> String {
    const UNITS: [(u64, &str, u64, &str); 3] = [
        (86400, "d", 3600, "h"),
        (3600, "h", 60, "min"),
        (60, "min", 1, "s"),
    ];
    for (unit_s, unit, rest_s, rest_unit) in UNITS {
        if seconds >= unit_s {
            return match (seconds / unit_s, seconds % unit_s / rest_s) {
                (count, 0) => format!(" ({count} {unit})"),
                (count, rest) => format!(" ({count} {unit} {rest} {rest_unit})"),
            };
        }
    }
    match seconds {
        0 => String::new(),
        _ => format!(" ({seconds} s)"),
    }
}

/// What fits into so many columns, if characters from Hangul on take two.
fn cut(text: &str, columns: usize) -> &str {
    let mut used = 0;
    for (at, c) in text.char_indices() {
        used += if c < '\u{1100}' { 1 } else { 2 };
        if used > columns {
            return &text[..at];
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::json::vectors;

    #[test]
    fn waits_are_told_as_recorded() {
        let Some(all) = vectors::load("waits.json") else {
            return;
        };
        for case in vectors::items(&all) {
            let text = |name| case.get(name).and_then(Value::text).unwrap();
            let reason = printable(text("reason"));
            let line = format!(
                "forge: {reason}{}",
                since(case.get("since_s").unwrap().number().unwrap() as u64)
            );
            let columns = case.get("columns").unwrap().number().unwrap() as usize;
            assert_eq!(
                cut(&line, columns.saturating_sub(KEPT_FREE)).as_bytes(),
                text("shown"),
                "{reason}"
            );
            assert_eq!(kind_of(&reason).as_bytes(), text("kind"), "{reason}");
        }
    }
}
