//! The first message of a launcher: what is to be built, and who asks.

use std::ffi::OsString;
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::path::PathBuf;

use crate::message::Message;
use crate::options::Variables;
use crate::sys;

/// Variables that `begin` carries, besides runners. No others: they may hold secrets.
const ENV_SENT: [&str; 33] = [
    "CARGO",
    "CARGO_BUILD_BUILD_DIR",
    "CARGO_BUILD_JOBS",
    "CARGO_BUILD_RUSTC",
    "CARGO_BUILD_RUSTC_WORKSPACE_WRAPPER",
    "CARGO_BUILD_RUSTC_WRAPPER",
    "CARGO_BUILD_TARGET",
    "CARGO_BUILD_TARGET_DIR",
    "CARGO_HOME",
    "CARGO_LOG",
    "CARGO_MAKEFLAGS",
    "CARGO_TARGET_DIR",
    "CI",
    "CLAUDECODE",
    "FORGE_IDENTITY",
    "FORGE_PRIORITY",
    "FORGE_RERUN",
    "FORGE_RESERVATION",
    "FORGE_RUSTC_WRAPPER",
    "FORGE_TARGET_DIR",
    "FORGE_TEST",
    "FORGE_WAIT_TIMEOUT",
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

/// `begin` as a line; None when it is too long. `given`: variables that options have set; `again`:
/// what the daemon gave us to bring back.
pub fn line(
    via: &str,
    args: &[OsString],
    given: &Variables,
    again: Option<&[u8]>,
) -> Option<Vec<u8>> {
    let parent = sys::var("FORGE_BUILD");
    let parent = parent.as_ref().map(|build| build.as_bytes());
    Message::first("begin")
        .text("client", crate::VERSION.as_bytes())
        .integer("pid", i64::from(sys::pid()))
        .text("cwd", &here())
        .words("argv", args)
        .table("env", &env(given))
        .flag("interactive", sys::is_terminal(0) && sys::is_terminal(2))
        .text("via", via.as_bytes())
        .text_or_null("parent", parent)
        .flag("requeues", true)
        .text_or_null("again", again)
        .line()
}

/// The build or the reservation inside which we stand: what starts here lives on its cores.
pub fn lender(var: &dyn Fn(&str) -> Option<OsString>) -> Option<OsString> {
    ["FORGE_TEST", "FORGE_RESERVATION"]
        .iter()
        .find_map(|name| var(name))
}

/// Where we stand; cargo itself says so when that is gone.
pub fn here() -> Vec<u8> {
    let directory = std::env::current_dir().unwrap_or_else(|_| PathBuf::from("/"));
    directory.into_os_string().into_vec()
}

fn env(given: &Variables) -> Vec<(OsString, OsString)> {
    let mut env = std::env::vars_os()
        .filter(|(name, _)| is_sent(name.as_bytes()))
        .collect::<Vec<_>>();
    for (name, value) in given {
        env.retain(|(inherited, _)| inherited != name);
        env.push((OsString::from(name), value.clone()));
    }
    env
}

fn is_sent(name: &[u8]) -> bool {
    let is_a_runner = name.starts_with(b"CARGO_TARGET_") && name.ends_with(b"_RUNNER");
    is_a_runner || ENV_SENT.iter().any(|sent| sent.as_bytes() == name)
}
