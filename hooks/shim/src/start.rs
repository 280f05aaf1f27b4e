//! Start the daemon when nobody listens. Ten builds may begin at once: a lock lets one of them do
//! it, and the others find the daemon running.

use std::ffi::OsString;
use std::fs::OpenOptions;
use std::os::fd::AsRawFd;
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::Path;
use std::thread::sleep;
use std::time::{Duration, Instant};

use crate::paths;
use crate::peer::{Failure, Peer, PATIENCE};
use crate::sys::{self, Env};

const LOCK_PATIENCE: Duration = Duration::from_secs(5);
const START_PATIENCE: Duration = Duration::from_secs(5);
const LOCK_INTERVAL: Duration = Duration::from_millis(20);
const SOCKET_INTERVAL: Duration = Duration::from_millis(5);

/// Variables of the build that starts the daemon and that are none of the daemon's business.
const NOT_THE_DAEMONS: [&str; 12] = [
    "CARGO_MAKEFLAGS",
    "CARGO_TARGET_DIR",
    "FORGE_BUILD",
    "FORGE_LINKER",
    "FORGE_ROOT",
    "FORGE_SHIM_DEPTH",
    "FORGE_SOCKET",
    "FORGE_TARGET_DIR",
    "MAKEFLAGS",
    "MFLAGS",
    "RUSTC_WORKSPACE_WRAPPER",
    "RUSTC_WRAPPER",
];

/// Connect to the daemon; start it first if nobody listens. The error is for people.
pub fn connect_or_start(state_dir: &Path) -> Result<Peer, String> {
    let socket = state_dir.join("forged.sock");
    let missing = |failure: Failure| match failure {
        Failure::NobodyListens => format!("no daemon answers on {}", socket.display()),
        failure => failure.to_string(),
    };
    match Peer::connect(&socket, PATIENCE) {
        Err(Failure::NobodyListens) => {}
        other => return other.map_err(missing),
    }
    let Some(command) = noted_command(state_dir, "forged.command") else {
        return Err(missing(Failure::NobodyListens));
    };
    let lock = OpenOptions::new()
        .create(true)
        .append(true)
        .mode(0o600)
        .open(state_dir.join("start.lock"))
        .map_err(|error| format!("the daemon cannot be started: {error}"))?;
    let deadline = Instant::now() + LOCK_PATIENCE;
    while !sys::try_lock(lock.as_raw_fd()) {
        if Instant::now() >= deadline {
            return Err("the daemon does not come up".to_owned());
        }
        sleep(LOCK_INTERVAL);
    }
    match Peer::connect(&socket, PATIENCE) {
        Err(Failure::NobodyListens) => start(&command, &socket),
        other => other.map_err(missing),
    }
}

/// What starts a program of Forge's, one argument a line, from a directory that only its user can
/// write.
pub fn noted_command(state_dir: &Path, name: &str) -> Option<Vec<OsString>> {
    let file = state_dir.join(name);
    for path in [state_dir, &file] {
        let found = std::fs::metadata(path).ok()?;
        if found.uid() != sys::effective_uid() || found.mode() & 0o022 != 0 {
            return None;
        }
    }
    let text = std::fs::read(&file).ok()?;
    let lines = text
        .split(|byte| *byte == b'\n')
        .filter(|line| !line.is_empty());
    let words = lines.map(sys::os_string).collect::<Vec<_>>();
    (!words.is_empty()).then_some(words)
}

fn start(command: &[OsString], socket: &Path) -> Result<Peer, String> {
    let cannot = |why: &dyn std::fmt::Display| {
        format!(
            "the daemon cannot be started with {}: {why}",
            command[0].to_string_lossy()
        )
    };
    let mut env = Env::current();
    for name in NOT_THE_DAEMONS {
        env.unset(name.as_bytes());
    }
    let program = paths::resolve(&command[0]).ok_or_else(|| cannot(&"no such program"))?;
    let pid = sys::spawn_detached(&program, &command[1..], &env).map_err(|error| cannot(&error))?;
    let deadline = Instant::now() + START_PATIENCE;
    loop {
        match Peer::connect(socket, PATIENCE) {
            Err(Failure::NobodyListens) => {}
            other => return other.map_err(|failure| failure.to_string()),
        }
        if !sys::is_alive(pid) {
            return Err(cannot(&"it ended at once"));
        }
        if Instant::now() >= deadline {
            return Err("the daemon does not come up".to_owned());
        }
        sleep(SOCKET_INTERVAL);
    }
}
