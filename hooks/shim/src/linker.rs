//! The linker gate: a link starts when its memory is granted.
//!
//! It runs the real linker in a process group of its own, so that a link can be ended and run
//! again under memory pressure while rustc and cargo know of nothing. Without a daemon it does not
//! open wide: one link at a time for each user.

use std::ffi::{OsStr, OsString};
use std::fs::{File, OpenOptions};
use std::os::fd::AsRawFd;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use crate::alone::become_program;
use crate::child::{Attendant, Child, Ended, Ending, FATAL};
use crate::held::Held;
use crate::lease;
use crate::linker_kind::Kind;
use crate::message::Message;
use crate::partial::Partial;
use crate::paths;
use crate::places;
use crate::response::{self, Files};
use crate::sys::{self, Env, Signals};
use crate::waitline;

const LOCK_PATIENCE: Duration = Duration::from_secs(600);
const LOCK_INTERVAL: Duration = Duration::from_millis(25);
const CANCEL_GRACE: Duration = Duration::from_millis(200);

pub fn run(called: &OsStr, args: &[OsString]) -> ! {
    let Some(real) = real_linker(called) else {
        // Called by a name that is not ours, in a way that is not ours: be that program.
        let name = sys::os_string(paths::basename(called.as_bytes()));
        cannot_run(&name, &become_program(&name, args))
    };
    let Some(program) = paths::resolve(&real) else {
        cannot_run(&real, &std::io::Error::from_raw_os_error(sys::ENOENT))
    };
    let words = response::expand(args);
    let kind = Kind::of(&real, &words);
    let mut args = args.to_vec();
    args.extend(kind.stay_in_one_process(&real, &words));
    let files = response::files(&words);
    let permit = Permit::get(request(&program, kind, &files));
    let signals = match Signals::catch() {
        Ok(signals) => signals,
        Err(_) => cannot_run(&real, &sys::exec(&program, &args, &Env::current())),
    };
    link(signals, &program, &args, permit, files.output.as_deref())
}

/// What rustc would have run, when it is rustc that runs us in its place.
fn real_linker(called: &OsStr) -> Option<OsString> {
    let real = sys::var("FORGE_LINKER")?;
    let directory = sys::var("FORGE_LINKER_DIR")?;
    Path::new(called).starts_with(directory).then_some(real)
}

/// A linker that does not start: the words and the code of a shell.
fn cannot_run(program: &OsStr, error: &std::io::Error) -> ! {
    waitline::write(&format!("{}: {error}\n", program.to_string_lossy()));
    sys::exit(if error.raw_os_error() == Some(sys::ENOENT) {
        127
    } else {
        126
    })
}

fn request(program: &OsStr, kind: Kind, files: &Files) -> Message {
    let bytes = |name: &str| sys::var(name);
    let (build, crate_name, target) = (
        bytes("FORGE_BUILD"),
        bytes("FORGE_UNIT_CRATE"),
        bytes("FORGE_UNIT_TARGET"),
    );
    Message::first("link")
        .text("build", build.as_deref().unwrap_or_default().as_bytes())
        .integer("pid", i64::from(sys::pid()))
        .text_or_null("crate", crate_name.as_ref().map(|name| name.as_bytes()))
        .text_or_null("output", files.output.as_ref().map(|path| path.as_bytes()))
        .integer("inputs", files.inputs)
        .integer("input_bytes", files.input_bytes)
        .text("linker", program.as_bytes())
        .text("linker_kind", kind.name().as_bytes())
        .text_or_null("target", target.as_ref().map(|target| target.as_bytes()))
}

/// What allows the link to run: the daemon's word, or the one lock of this user.
enum Permit {
    Lease(Held),
    Lock { _held: Option<File> },
}

impl Permit {
    fn get(request: Message) -> Permit {
        let leased =
            sys::var("FORGE_SOCKET").and_then(|socket| lease::ask(Path::new(&socket), request));
        leased.map_or_else(Permit::alone, Permit::Lease)
    }

    /// Wait until a link that was cancelled may run again.
    fn again(self) -> Permit {
        match self {
            Permit::Lease(held) => held.await_go().map_or_else(Permit::alone, Permit::Lease),
            lock @ Permit::Lock { .. } => lock,
        }
    }

    fn alone() -> Permit {
        let path = places::state_dir_of_gate().map(|state| state.join("link.lock"));
        Permit::Lock {
            _held: path.and_then(|path| only_one(&path)),
        }
    }
}

/// Wait for the lock; None when it cannot be had, and the link must run all the same.
fn only_one(path: &PathBuf) -> Option<File> {
    let lock = OpenOptions::new()
        .create(true)
        .append(true)
        .mode(0o600)
        .open(path)
        .ok()?;
    let deadline = Instant::now() + LOCK_PATIENCE;
    while !sys::try_lock(lock.as_raw_fd()) {
        if Instant::now() >= deadline {
            return None;
        }
        std::thread::sleep(LOCK_INTERVAL);
    }
    Some(lock)
}

fn link(
    mut signals: Signals,
    program: &OsStr,
    args: &[OsString],
    mut permit: Permit,
    output: Option<&OsStr>,
) -> ! {
    let env = Env::current();
    loop {
        let partial = Partial::of(output);
        let child = match Child::start(&signals, program, args, &env, true) {
            Ok(child) => child,
            Err(error) => cannot_run(program, &error),
        };
        let mut link = Link {
            permit,
            cancelled: None,
        };
        let ended = child.attend(&signals, &mut link);
        if link.cancelled.is_some() || link.is_ending() {
            child.signal(sys::SIGKILL); // whoever is left of its group
        }
        if !link.is_to_run_again(&child, &ended) {
            link.report(Message::new("link_ended").outcome(&ended).usage(&ended));
            sys::end_like(ended.status)
        }
        partial.remove();
        link.report(Message::new("cancelled").usage(&ended));
        // Without a child nobody but us can be ended by a signal.
        let arrived = signals.release();
        if let Some(fatal) = arrived.iter().find(|one| FATAL.contains(&one.signal)) {
            sys::end_like(sys::Status(fatal.signal));
        }
        permit = link.permit.again();
        signals = match Signals::catch() {
            Ok(signals) => signals,
            Err(_) => cannot_run(program, &sys::exec(program, args, &env)),
        };
    }
}

/// A running link's side of the connection.
struct Link {
    permit: Permit,
    /// It was told to make room, and is to run again later.
    cancelled: Option<Ending>,
}

impl Link {
    fn is_ending(&self) -> bool {
        matches!(&self.permit, Permit::Lease(held) if held.is_ending())
    }

    /// It was ended to make room, by whatever exit code a linker tells that, and by nobody else.
    fn is_to_run_again(&self, child: &Child, ended: &Ended) -> bool {
        let failed = ended.status.0 != 0;
        self.cancelled.is_some() && failed && !self.is_ending() && child.fatal_signal().is_none()
    }

    fn report(&mut self, report: Message) {
        if let Permit::Lease(held) = &mut self.permit {
            held.report(report);
        }
    }
}

impl Attendant for Link {
    fn fd(&self) -> Option<i32> {
        match &self.permit {
            Permit::Lease(held) => held.fd(),
            Permit::Lock { .. } => None,
        }
    }

    fn due_at(&self) -> Option<Instant> {
        let kill_at = self.cancelled.as_ref().map(Ending::due_at);
        match &self.permit {
            Permit::Lease(held) => held.due_at().into_iter().chain(kill_at).min(),
            Permit::Lock { .. } => None,
        }
    }

    fn attend(&mut self, child: &Child) {
        let Permit::Lease(held) = &mut self.permit else {
            return;
        };
        if let Some(cancelled) = &mut self.cancelled {
            cancelled.attend(child);
        }
        while let Some(word) = held.hear(child) {
            if word == b"cancel" && self.cancelled.is_none() {
                // Asked first: linkers take their temporary files with them.
                self.cancelled = Some(Ending::of(child, CANCEL_GRACE));
            }
        }
    }
}
