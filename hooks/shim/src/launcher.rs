//! The launcher: `cargo` in PATH, and `forge VERB`.
//!
//! It asks the daemon how to start cargo, starts it as a child in its own process group and stays
//! its parent, so that the connection, which is the lease, lives exactly as long as the build.
//! Whatever goes wrong before cargo runs ends in cargo as the user called it.
//!
//! A build that the daemon ends for memory, or of which memory has killed a part, begins anew: it
//! asks again, waits in line, and cargo goes on where it was.

use std::ffi::OsString;
use std::path::Path;

use crate::alone::{become_cargo, cannot_run, run_alone};
use crate::args::{self, Kind};
use crate::begin;
use crate::child::Child;
use crate::in_line::{self, Word};
use crate::message::Message;
use crate::options::{self, Variables};
use crate::peer::{Failure, Peer, PATIENCE};
use crate::places;
use crate::plan::{Jobserver, Plan};
use crate::real::{self, Chain};
use crate::remote;
use crate::running::Build;
use crate::start::connect_or_start;
use crate::sys::{self, Env, Signals};
use crate::waitline;

const EX_USAGE: i32 = 64;

/// Run cargo with what follows its name; `via` is the name we were called by.
pub fn run(via: &str, words: &[OsString]) -> ! {
    let (args, mut given) = options::take(words).unwrap_or_else(|wrong| {
        waitline::report(&wrong);
        sys::exit(EX_USAGE)
    });
    remote::hand_over(words, &args, &mut given);
    let chain = Chain::read();
    let Some(cargo) = chain.real_cargo() else {
        waitline::report("no cargo found on PATH");
        waitline::report("install Rust, or add the directory of cargo to PATH");
        sys::exit(127)
    };
    let mut inherited = Env::current();
    inherited.set(real::DEPTH.as_bytes(), chain.written().as_bytes());
    let kind = args::kind(&args);
    if kind == Kind::Pass || sys::is_on("FORGE_DISABLE") || chain.is_loop {
        become_cargo(&cargo, &args, &inherited)
    }
    if kind == Kind::Build {
        say_ignored(&given);
    }
    let mut asking = Asking {
        via,
        args: &args,
        given: &given,
        again: None,
        signals: None,
    };
    loop {
        let mut env = inherited.clone();
        let (peer, mut plan) = asking
            .agree()
            .unwrap_or_else(|missing| run_alone(&cargo, &args, &mut env, &missing));
        let jobserver = plan.open_jobserver();
        plan.apply(&mut env, jobserver.as_ref());
        plan.notes
            .iter()
            .for_each(|note| waitline::say(&waitline::printable(note)));
        if kind == Kind::Redirect {
            become_cargo(&cargo, &plan.argv, &env) // the lease ends with this: it held nothing
        }
        let build = Build::new(peer, plan, &args);
        asking.again = Some(stand_before(
            &cargo,
            &env,
            asking.signals(),
            build,
            jobserver,
        ));
    }
}

/// What the daemon is asked for, once or, when the build begins anew, several times.
struct Asking<'a> {
    via: &'a str,
    args: &'a [OsString],
    given: &'a Variables,
    /// What to bring back to the daemon: the build begins anew.
    again: Option<Vec<u8>>,
    /// Caught once: from the first answer on.
    signals: Option<Signals>,
}

impl Asking<'_> {
    fn signals(&self) -> &Signals {
        self.signals.as_ref().expect("whoever agreed has signals")
    }

    /// Talk to the daemon until it says how to start; ends here when it says not to. The error is
    /// for people.
    fn agree(&mut self) -> Result<(Peer, Plan), String> {
        let failed = |failure: Failure| failure.to_string();
        let state_dir = places::state_dir().ok_or("there is no home directory")?;
        let line = begin::line(self.via, self.args, self.given, self.again.as_deref());
        let line = line.ok_or_else(|| failed(Failure::TooLong))?;
        let mut peer = match self.again {
            None => connect_or_start(&state_dir)?,
            Some(_) => Peer::connect(&state_dir.join("forged.sock"), PATIENCE).map_err(failed)?,
        };
        peer.send(&line, PATIENCE).map_err(failed)?;
        if self.signals.is_none() {
            self.signals = Some(Signals::catch().map_err(|error| error.to_string())?);
        }
        match in_line::await_word(&mut peer, self.signals()).map_err(failed)? {
            Word::Go(plan) => Ok((peer, *plan)),
            Word::End { line, exit } => {
                if let Some(line) = line {
                    waitline::report(&line);
                }
                sys::exit(exit)
            }
        }
    }
}

/// Say which variables are wrong; inside a build the outer launcher has done so.
fn say_ignored(given: &Variables) {
    if sys::var("FORGE_BUILD").is_none() {
        options::ignored(given)
            .iter()
            .for_each(|line| waitline::say(line));
    }
}

/// Start cargo, and be its parent until it has ended. Ends here as cargo has, unless the build
/// begins anew: then what to bring back is returned.
fn stand_before(
    cargo: &Path,
    env: &Env,
    signals: &Signals,
    mut build: Build,
    jobserver: Option<Jobserver>,
) -> Vec<u8> {
    let entered = build.plan.enter_place();
    let child = match Child::start(signals, cargo.as_os_str(), &build.plan.argv, env, false) {
        Ok(child) => child,
        Err(error) => cannot_run(cargo, &error),
    };
    drop(jobserver);
    let started = Message::new("started").integer("pid", i64::from(child.pid));
    build.send(started.flag_or_null("entered", entered));
    let ended = child.attend(signals, &mut build);
    signals.child_exists(false);
    let again = build.finish(&child, &ended, signals);
    again.unwrap_or_else(|| sys::end_like(ended.status))
}
