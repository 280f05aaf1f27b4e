//! The launcher: `cargo` in PATH, and `forge VERB`.
//!
//! It asks the daemon how to start cargo, starts it as a child in its own process group and stays
//! its parent, so that the connection, which is the lease, lives exactly as long as the build.
//! Whatever goes wrong before cargo runs ends in cargo as the user called it.

use std::ffi::OsString;
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use crate::alone::{become_cargo, cannot_run, run_alone};
use crate::args::{self, Kind};
use crate::child::{Attendant, Child};
use crate::json::Value;
use crate::message::{self, Message};
use crate::peer::{self, Failure, Look, Peer, PATIENCE};
use crate::places;
use crate::plan::{Jobserver, Plan};
use crate::real::{self, Chain};
use crate::start::connect_or_start;
use crate::sys::{self, Env, Signals};
use crate::waitline::{self, WaitLine};

const RECONNECT_EVERY: Duration = Duration::from_secs(1);
const RECONNECT_AFTER_REFUSAL: Duration = Duration::from_secs(30);
const PARTING_PATIENCE: Duration = Duration::from_millis(100);

/// Variables that `begin` carries. No others: they may hold secrets.
const ENV_SENT: [&str; 26] = [
    "CARGO",
    "CARGO_BUILD_BUILD_DIR",
    "CARGO_BUILD_JOBS",
    "CARGO_BUILD_RUSTC",
    "CARGO_BUILD_RUSTC_WORKSPACE_WRAPPER",
    "CARGO_BUILD_RUSTC_WRAPPER",
    "CARGO_BUILD_TARGET",
    "CARGO_BUILD_TARGET_DIR",
    "CARGO_HOME",
    "CARGO_MAKEFLAGS",
    "CARGO_TARGET_DIR",
    "CI",
    "FORGE_PRIORITY",
    "FORGE_RUSTC_WRAPPER",
    "FORGE_TARGET_DIR",
    "HOME",
    "MAKEFLAGS",
    "MFLAGS",
    "PATH",
    "RUSTC",
    "RUSTC_WORKSPACE_WRAPPER",
    "RUSTC_WRAPPER",
    "RUSTUP_TOOLCHAIN",
    "SSH_CONNECTION",
    "TERM_PROGRAM",
    "VSCODE_PID",
];

/// Run cargo with what follows its name; `via` is the name we were called by.
pub fn run(via: &str, args: &[OsString]) -> ! {
    let chain = Chain::read();
    let Some(cargo) = chain.real_cargo() else {
        waitline::report("no cargo found on PATH");
        waitline::report("install Rust, or add the directory of cargo to PATH");
        sys::exit(127)
    };
    let mut env = Env::current();
    env.set(real::DEPTH.as_bytes(), chain.written().as_bytes());
    let kind = args::kind(args);
    if kind == Kind::Pass || sys::is_on("FORGE_DISABLE") || chain.is_loop {
        become_cargo(&cargo, args, &env)
    }
    let (peer, mut plan) = match agree(via, args) {
        Ok(agreed) => agreed,
        Err(missing) => run_alone(&cargo, args, &mut env, &missing),
    };
    let jobserver = plan.open_jobserver();
    plan.apply(&mut env, jobserver.as_ref());
    plan.notes
        .iter()
        .for_each(|note| waitline::say(&waitline::printable(note)));
    if kind == Kind::Redirect {
        become_cargo(&cargo, &plan.argv, &env) // the lease ends with this: it held nothing
    }
    build(&cargo, args, &env, Build::new(peer, plan, args), jobserver)
}

/// Talk to the daemon until it says how to start. The error is for people.
fn agree(via: &str, args: &[OsString]) -> Result<(Peer, Plan), String> {
    let state_dir = places::state_dir().ok_or("there is no home directory")?;
    let line = begin(via, args).ok_or_else(|| Failure::TooLong.to_string())?;
    let mut peer = connect_or_start(&state_dir)?;
    peer.send(&line, PATIENCE)
        .map_err(|failure| failure.to_string())?;
    let mut shown = WaitLine::new();
    let plan = await_plan(&mut peer, &mut shown);
    shown.erase();
    plan.map(|plan| (peer, plan))
        .map_err(|failure| failure.to_string())
}

fn begin(via: &str, args: &[OsString]) -> Option<Vec<u8>> {
    let env = ENV_SENT
        .iter()
        .filter_map(|name| std::env::var_os(name).map(|value| (*name, value)))
        .collect::<Vec<_>>();
    let parent = sys::var("FORGE_BUILD");
    let parent = parent.as_ref().map(|build| build.as_bytes());
    Message::first("begin")
        .text("client", crate::VERSION.as_bytes())
        .integer("pid", i64::from(sys::pid()))
        .text("cwd", &here())
        .words("argv", args)
        .table("env", &env)
        .flag("interactive", sys::is_terminal(0) && sys::is_terminal(2))
        .text("via", via.as_bytes())
        .text_or_null("parent", parent)
        .line()
}

fn here() -> Vec<u8> {
    let directory = std::env::current_dir().unwrap_or_else(|_| PathBuf::from("/"));
    directory.into_os_string().into_vec()
}

fn await_plan(peer: &mut Peer, shown: &mut WaitLine) -> Result<Plan, Failure> {
    let mut silent_at = Instant::now() + PATIENCE;
    loop {
        let wake_at = shown.due_at().map_or(silent_at, |at| at.min(silent_at));
        let (kind, value) = match peer.next(wake_at) {
            Err(Failure::Silent) if Instant::now() < silent_at => {
                shown.show();
                continue;
            }
            other => other?,
        };
        silent_at = Instant::now() + PATIENCE;
        match kind.as_slice() {
            b"go" => return Plan::read(&value).ok_or(Failure::Unfollowable),
            b"error" => return Err(peer::refusal(&value)),
            b"wait" => {
                shown.reason(
                    value
                        .get("reason")
                        .and_then(Value::text)
                        .unwrap_or(b"waiting"),
                );
            }
            b"say" => {
                shown.erase(); // the next `wait` paints it again
                say(&value);
            }
            _ => return Err(Failure::Garbage),
        }
    }
}

/// Say what the daemon wants to be said.
fn say(value: &Value) {
    if let Some(line) = value.get("line").and_then(Value::text) {
        waitline::say(&waitline::printable(line));
    }
}

fn build(
    cargo: &Path,
    args: &[OsString],
    env: &Env,
    mut build: Build,
    jobserver: Option<Jobserver>,
) -> ! {
    let signals = match Signals::catch() {
        Ok(signals) => signals,
        Err(error) => run_alone(cargo, args, &mut Env::current(), &error.to_string()),
    };
    let child = match Child::start(&signals, cargo.as_os_str(), &build.plan.argv, env, false) {
        Ok(child) => child,
        Err(error) => cannot_run(cargo, &error),
    };
    drop(jobserver);
    let started = Message::new("started").integer("pid", i64::from(child.pid));
    build.send(started, PARTING_PATIENCE);
    let ended = child.attend(&signals, &mut build);
    build.send(Message::new("ended").outcome(&ended), PARTING_PATIENCE);
    sys::end_like(ended.status)
}

/// A running build's side of the connection: it prints what the daemon says, and looks for a new
/// daemon when the old one is gone.
struct Build {
    plan: Plan,
    args: Vec<OsString>,
    peer: Option<Peer>,
    /// An answer to `adopt` is due until then.
    answer_due: Option<Instant>,
    reconnect_at: Instant,
}

impl Build {
    fn new(peer: Peer, plan: Plan, args: &[OsString]) -> Build {
        let reconnect_at = Instant::now() + RECONNECT_EVERY;
        Build {
            plan,
            args: args.to_vec(),
            peer: Some(peer),
            answer_due: None,
            reconnect_at,
        }
    }

    fn send(&mut self, message: Message, patience: Duration) {
        if let (Some(peer), Some(line)) = (&self.peer, message.line()) {
            let _ = peer.send(&line, patience); // a daemon that is gone is noticed when reading
        }
    }

    fn lose(&mut self, again_in: Duration) {
        self.peer = None;
        self.answer_due = None;
        self.reconnect_at = Instant::now() + again_in;
    }

    fn listen(&mut self) {
        while let Some(peer) = &mut self.peer {
            match peer.look() {
                Look::Nothing => return,
                Look::Gone => self.lose(RECONNECT_EVERY),
                Look::Line(line) => self.hear(&line),
            }
        }
    }

    fn hear(&mut self, line: &[u8]) {
        let Some((kind, value)) = message::read(line) else {
            return;
        };
        match kind.as_slice() {
            b"say" => say(&value),
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
        let message = Message::first("adopt")
            .text("client", crate::VERSION.as_bytes())
            .integer("pid", i64::from(sys::pid()))
            .text("build", &self.plan.build)
            .integer("cargo_pid", i64::from(cargo_pid))
            .text("cwd", &here())
            .words("argv", &self.args)
            .text_or_null("target_dir", self.plan.target_dir.as_deref())
            .text_or_null("jobserver", self.plan.jobserver.as_deref());
        self.peer = Some(peer);
        self.answer_due = Some(Instant::now() + PATIENCE);
        self.send(message, PARTING_PATIENCE);
    }
}

impl Attendant for Build {
    fn fd(&self) -> Option<i32> {
        self.peer.as_ref().map(Peer::fd)
    }

    fn due_at(&self) -> Option<Instant> {
        match self.peer {
            None => Some(self.reconnect_at),
            Some(_) => self.answer_due,
        }
    }

    fn attend(&mut self, child: &Child) {
        self.listen();
        let now = Instant::now();
        if self.answer_due.is_some_and(|at| now >= at) {
            self.lose(RECONNECT_EVERY);
        }
        if self.peer.is_none() && now >= self.reconnect_at {
            self.adopt(child.pid);
        }
    }
}
