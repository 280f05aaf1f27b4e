//! Forge's small native program. Its name on the command line says what it is:
//! `cargo` or `forge` start a build, `rustc-gate` stands before each rustc, `test-gate` before each
//! test binary, and any other name is that of a linker, behind which the real linker is run.
//!
//! It starts once per compiler process, so it starts without Rust's own run-time set-up: that
//! would cost time and would ignore SIGPIPE, which cargo is to inherit as it was.

#![cfg_attr(not(test), no_main)]
#![cfg_attr(test, allow(dead_code))]

mod alone;
mod args;
mod begin;
mod child;
mod gate;
mod held;
mod in_line;
mod json;
mod launcher;
mod lease;
mod linker;
mod linker_kind;
mod message;
mod options;
mod partial;
mod paths;
mod peer;
mod place;
mod places;
mod plan;
mod real;
mod remote;
mod response;
mod running;
mod start;
mod sys;
mod test_gate;
mod tmp_dir;
mod unit;
mod waitline;

use std::ffi::OsString;
use std::io::Write;
use std::os::unix::ffi::OsStrExt;

pub const VERSION: &str = "0.1.0";

/// # Safety
///
/// Only for the C run time, which hands over `argc` strings.
#[cfg(not(test))]
#[no_mangle]
pub unsafe extern "C" fn main(
    argc: std::os::raw::c_int,
    argv: *const *const std::os::raw::c_char,
) -> std::os::raw::c_int {
    sys::prepare();
    let words = (0..argc as usize)
        .map(|index| std::ffi::CStr::from_ptr(*argv.add(index)))
        .map(|word| sys::os_string(word.to_bytes()))
        .collect::<Vec<_>>();
    dispatch(words)
}

/// Become what the name says; never returns.
fn dispatch(mut words: Vec<OsString>) -> ! {
    if words.is_empty() {
        sys::exit(64);
    }
    let called = words.remove(0);
    let name = paths::basename(called.as_bytes()).to_vec();
    match name.as_slice() {
        b"cargo" => launcher::run("cargo", &words),
        b"forge" => launcher::run("forge", &words),
        b"rustc-gate" => gate::run(&words),
        b"test-gate" => test_gate::run(&words),
        b"forge-shim" => {
            let _ = writeln!(std::io::stdout(), "forge-shim {VERSION}"); // `println!` would panic
            sys::exit(0)
        }
        _ => linker::run(&called, &words),
    }
}
