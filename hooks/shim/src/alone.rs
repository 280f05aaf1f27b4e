//! Cargo without Forge: what every failure ends in.

use std::ffi::OsString;
use std::path::{Path, PathBuf};

use crate::args;
use crate::paths;
use crate::sys::{self, Env};
use crate::waitline;

/// Say once what is missing (unless FORGE_QUIET), and become cargo as the user called it.
pub fn run_alone(cargo: &Path, args: &[OsString], env: &mut Env, missing: &str) -> ! {
    waitline::say(&format!("{missing}; cargo runs without Forge"));
    drop_foreign_target_dir(args, env);
    become_cargo(cargo, args, env)
}

/// Become cargo.
pub fn become_cargo(cargo: &Path, args: &[OsString], env: &Env) -> ! {
    let error = sys::exec(cargo.as_os_str(), args, env);
    cannot_run(cargo, &error)
}

/// Report a cargo that does not start, with the exit code that a shell would give.
pub fn cannot_run(cargo: &Path, error: &std::io::Error) -> ! {
    waitline::report(&format!("cannot run {}: {error}", cargo.display()));
    sys::exit(if error.raw_os_error() == Some(sys::ENOENT) {
        127
    } else {
        126
    })
}

/// Inside a build the target dir of *that* build is in the environment. Nobody is there to say
/// whether it is ours, so a workspace outside that build's root must not inherit it: it would wait
/// for ever for the lock of a directory that its own parent holds.
fn drop_foreign_target_dir(args: &[OsString], env: &mut Env) {
    let forges = sys::var("FORGE_TARGET_DIR");
    if forges.is_none() || forges != sys::var("CARGO_TARGET_DIR") {
        return;
    }
    let root = sys::var("FORGE_ROOT").map(PathBuf::from);
    let inside = match (root, project(args)) {
        (Some(root), Some(project)) => project.starts_with(root.canonicalize().unwrap_or(root)),
        _ => false,
    };
    if !inside {
        env.unset(b"CARGO_TARGET_DIR");
        env.unset(b"FORGE_TARGET_DIR");
    }
}

/// The directory of the manifest that cargo will find.
fn project(args: &[OsString]) -> Option<PathBuf> {
    let here = std::env::current_dir().ok()?;
    if let Some(manifest) = args::manifest_path(args) {
        return here.join(manifest).parent()?.canonicalize().ok();
    }
    here.ancestors()
        .find(|directory| directory.join("Cargo.toml").exists())
        .map(Path::to_owned)
}

/// Run `program` in our place because Forge has nothing to do; it is found as execvp(3) would.
pub fn become_program(program: &OsString, args: &[OsString]) -> std::io::Error {
    match paths::resolve(program) {
        Some(path) => sys::exec(&path, args, &Env::current()),
        None => std::io::Error::from_raw_os_error(sys::ENOENT),
    }
}
