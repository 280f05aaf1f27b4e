//! Where the daemon's things are.

use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;
use std::path::PathBuf;

use crate::sys;

/// The state directory: FORGE_STATE_DIR, or the one under the user's home.
pub fn state_dir() -> Option<PathBuf> {
    if let Some(given) = sys::var("FORGE_STATE_DIR") {
        return Some(PathBuf::from(given));
    }
    Some(home()?.join(".local").join("state").join("opta-forge"))
}

/// Where forge.toml is looked for: FORGE_CONFIG, or the one under the user's home.
pub fn config_file() -> Option<PathBuf> {
    match sys::var("FORGE_CONFIG") {
        Some(given) if !given.is_empty() => Some(PathBuf::from(given)),
        _ => Some(home()?.join(".config/opta-forge/forge.toml")),
    }
}

fn home() -> Option<PathBuf> {
    #[allow(deprecated)] // asks the user database when HOME is not set
    std::env::home_dir()
}

/// The state directory as a gate sees it: where the socket is that its build was given.
pub fn state_dir_of_gate() -> Option<PathBuf> {
    match sys::var("FORGE_SOCKET") {
        Some(socket) => PathBuf::from(socket).parent().map(PathBuf::from),
        None => state_dir(),
    }
}

pub fn path_from(bytes: &[u8]) -> PathBuf {
    PathBuf::from(OsStr::from_bytes(bytes))
}
