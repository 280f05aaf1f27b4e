//! Builds for another machine: Python's `forge` takes them there. client/remote_settings.py decides
//! the same, and alone reads what forge.toml says.

use std::ffi::OsString;
use std::os::unix::ffi::OsStrExt;

use crate::args::{self, Kind};
use crate::options::Variables;
use crate::paths;
use crate::places;
use crate::start::noted_command;
use crate::sys::{self, Env};
use crate::waitline;

const EX_UNAVAILABLE: i32 = 69;
const VARIABLE: &str = "FORGE_ON";
const HERE: &str = "here";
/// Verbs about this machine's own files, and what others ask of cargo all the time.
const STAYS: [&str; 5] = ["metadata", "install", "fix", "package", "publish"];
const SETTINGS: &[u8] = b"remote";

/// Become Python's `forge` when this command line may go to another machine; return when it does
/// not. `given` says nothing of hosts afterwards: that is no business of the daemon's.
pub fn hand_over(words: &[OsString], args: &[OsString], given: &mut Variables) {
    let option = given.iter().find(|(name, _)| *name == VARIABLE).cloned();
    given.retain(|(name, _)| *name != VARIABLE);
    let is_inside = option.is_none() && sys::var("FORGE_BUILD").is_some_and(|id| !id.is_empty());
    if is_inside || stays(args) || sys::is_on("FORGE_DISABLE") {
        return;
    }
    let named = option.map(|(_, host)| host).or_else(|| sys::var(VARIABLE));
    if named
        .as_ref()
        .map_or(!may_be_set(), |host| host.is_empty() || host == HERE)
    {
        return;
    }
    let forge = places::state_dir().and_then(|place| noted_command(&place, "forge.command"));
    let program = forge
        .as_ref()
        .and_then(|command| paths::resolve(&command[0]));
    match (forge, program) {
        (Some(command), Some(program)) => {
            let mut argv = command[1..].to_vec();
            argv.push("cargo".into());
            argv.extend_from_slice(words);
            let error = sys::exec(&program, &argv, &Env::current());
            waitline::report(&format!(
                "cannot run {}: {error}",
                program.to_string_lossy()
            ));
            sys::exit(EX_UNAVAILABLE)
        }
        _ => {
            if let Some(host) = named {
                let shown = waitline::printable(host.as_bytes());
                waitline::report(&format!(
                    "`{shown}` cannot be reached from here (`forge shim install` tells where Forge is)"
                ));
                sys::exit(EX_UNAVAILABLE)
            }
        }
    }
}

fn stays(args: &[OsString]) -> bool {
    let verb = args::verb_index(args).map(|at| &args[at]);
    args::kind(args) == Kind::Pass || verb.is_some_and(|verb| STAYS.iter().any(|one| verb == one))
}

/// Whether forge.toml speaks of remote builds at all.
fn may_be_set() -> bool {
    let text = places::config_file().and_then(|file| std::fs::read(file).ok());
    text.is_some_and(|text| text.windows(SETTINGS.len()).any(|part| part == SETTINGS))
}
