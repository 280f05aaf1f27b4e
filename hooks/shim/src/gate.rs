//! The rustc gate: every rustc asks before it starts.
//!
//! It never writes to stderr (unless asked to by FORGE_LOG=debug): cargo would take that for a
//! compiler warning of the crate, keep it, and show it again at each later build.

use std::ffi::{OsStr, OsString};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use crate::alone::become_program;
use crate::child::Child;
use crate::lease;
use crate::message::Message;
use crate::paths::{self, FileId};
use crate::sys::{self, Env, Signals};
use crate::tmp_dir;
use crate::unit::{self, Unit};
use crate::waitline;

pub fn run(args: &[OsString]) -> ! {
    let command = chained(args);
    let Some((program, rest)) = command.split_first() else {
        waitline::write("rustc-gate: cargo calls this with rustc and its arguments\n");
        sys::exit(64)
    };
    let socket = sys::var("FORGE_SOCKET").map(PathBuf::from);
    let build = sys::var("FORGE_BUILD");
    match (
        unit::parse(args.get(1..).unwrap_or_default()),
        socket,
        build,
    ) {
        (Some(unit), Some(socket), Some(build)) => {
            compile(program, rest, &unit, &socket, build.as_bytes())
        }
        _ => never_executed(&command, &become_program(program, rest)),
    }
}

/// The command that cargo would run without us: the user's own wrapper first, if there is one.
fn chained(args: &[OsString]) -> Vec<OsString> {
    let own = FileId::own();
    let wrapper = sys::var("FORGE_RUSTC_WRAPPER").filter(|wrapper| {
        // A cargo inside a build inherits us as its wrapper: that is not the user's.
        let found = paths::resolve(wrapper).map(PathBuf::from);
        paths::basename(wrapper.as_bytes()) != b"rustc-gate"
            && (own.is_none() || found.and_then(|path| FileId::of(&path)) != own)
    });
    wrapper.into_iter().chain(args.iter().cloned()).collect()
}

/// A program that does not start: say what cargo itself would have said.
pub fn never_executed(command: &[OsString], error: &std::io::Error) -> ! {
    let words = command
        .iter()
        .map(|word| word.to_string_lossy())
        .collect::<Vec<_>>()
        .join(" ");
    let first = format!("error: could not execute process `{words}` (never executed)");
    waitline::write(&format!("{first}\n\nCaused by:\n  {error}\n"));
    sys::exit(101)
}

fn compile(program: &OsString, args: &[OsString], unit: &Unit, socket: &Path, build: &[u8]) -> ! {
    let held = lease::ask(socket, unit.message(build, &|name| sys::var(name)));
    let mut env = Env::current();
    tmp_dir::set(&mut env);
    let mut args = args.to_vec();
    if let Some(linker) = unit.links().then(|| gated_linker(unit, &mut env)).flatten() {
        args.push(linker);
    }
    let cannot = |error: std::io::Error| -> ! {
        let command = std::iter::once(program.clone()).chain(args.iter().cloned());
        never_executed(&command.collect::<Vec<_>>(), &error)
    };
    let Some(path) = paths::resolve(program) else {
        cannot(std::io::Error::from_raw_os_error(sys::ENOENT))
    };
    let Some(mut held) = held else {
        cannot(sys::exec(&path, &args, &env))
    };
    let signals = match Signals::catch() {
        Ok(signals) => signals,
        Err(_) => cannot(sys::exec(&path, &args, &env)),
    };
    let child = match Child::start(&signals, &path, &args, &env, false) {
        Ok(child) => child,
        Err(error) => cannot(error),
    };
    let ended = child.attend(&signals, &mut held);
    held.report(Message::new("unit_ended").outcome(&ended).usage(&ended));
    sys::end_like(ended.status)
}

/// Put ourselves before the linker under its own name: rustc reads the linker's flavour from it.
///
/// Returns the argument for rustc; None leaves the link alone.
fn gated_linker(unit: &Unit, env: &mut Env) -> Option<OsString> {
    let directory = PathBuf::from(sys::var("FORGE_LINKER_DIR")?);
    let real = unit.real_linker()?;
    let name = paths::basename(&real);
    if name.is_empty() {
        return None;
    }
    // A directory for each real linker, so that two that share a name do not share a link.
    let link = directory
        .join(format!("{:016x}", fnv(&real)))
        .join(OsStr::from_bytes(name));
    point_to_us(&link)
        .map_err(|error| lease::debug(&format!("no linker gate: {error}")))
        .ok()?;
    env.set(b"FORGE_LINKER", &real);
    env.set(b"FORGE_UNIT_CRATE", &unit.crate_name);
    match &unit.target {
        Some(target) => env.set(b"FORGE_UNIT_TARGET", target),
        None => env.unset(b"FORGE_UNIT_TARGET"),
    }
    let mut argument = OsString::from("-Clinker=");
    argument.push(link);
    Some(argument)
}

/// Make `link` a symlink to this program, whoever else does the same at the same time.
fn point_to_us(link: &Path) -> std::io::Result<()> {
    let own = std::env::current_exe()?;
    if std::fs::read_link(link).is_ok_and(|to| to == own) {
        return Ok(());
    }
    let directory = link.parent().unwrap_or(Path::new("/"));
    std::fs::create_dir_all(directory)?;
    let ours = directory.join(format!(".{}", sys::pid()));
    let _ = std::fs::remove_file(&ours); // left by a process that had our pid
    std::os::unix::fs::symlink(&own, &ours)?;
    std::fs::rename(&ours, link)
}

/// A short name for a path (FNV-1a); nothing depends on it being hard to forge.
fn fnv(bytes: &[u8]) -> u64 {
    bytes.iter().fold(0xcbf2_9ce4_8422_2325, |hash, byte| {
        (hash ^ u64::from(*byte)).wrapping_mul(0x0100_0000_01b3)
    })
}
