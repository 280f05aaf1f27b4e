//! The test gate: cargo's target runner. A test binary asks before it starts, since its harness
//! would otherwise run as many tests at once as there are cores.
//!
//! What it starts is as it would be without us: words, directory, descriptors, signals, exit code.
//! Of the environment, a runner variable that names us goes, and FORGE_TEST comes: builds that a
//! test starts know by it whose cores they are on.

use std::ffi::{OsStr, OsString};
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::path::PathBuf;

use crate::child::Child;
use crate::gate::never_executed;
use crate::held::Held;
use crate::lease;
use crate::message::Message;
use crate::paths;
use crate::sys::{self, Env, Signals};
use crate::waitline;

const NAME: &[u8] = b"test-gate";
const HASH_DIGITS: usize = 16;

pub fn run(args: &[OsString]) -> ! {
    let Some(call) = Call::parse(args) else {
        waitline::write("test-gate: cargo calls this with a count, a runner and a test binary\n");
        sys::exit(64)
    };
    let mut env = Env::current();
    restore_runners(&mut env);
    let build = sys::var("FORGE_BUILD");
    let socket = sys::var("FORGE_SOCKET").map(PathBuf::from);
    let is_inside_a_test = sys::var("FORGE_TEST").is_some();
    let (Some(build), Some(socket)) = (build, socket) else {
        call.become_it(&env)
    };
    if is_inside_a_test || call.only_lists() {
        call.become_it(&env);
    }
    env.set(b"FORGE_TEST", build.as_bytes());
    let message = call.message(build.as_bytes(), sys::var("RUST_TEST_THREADS").as_deref());
    match lease::ask(&socket, message) {
        Some(held) => call.stand_before(&env, held),
        None => call.become_it(&env),
    }
}

/// What we are called for.
struct Call<'a> {
    /// The user's runner, if there is one, the test binary, and its arguments.
    command: &'a [OsString],
    binary: &'a OsStr,
    args: &'a [OsString],
}

impl Call<'_> {
    fn parse(words: &[OsString]) -> Option<Call<'_>> {
        let (count, command) = words.split_first()?;
        let count = count.to_str()?.parse::<usize>().ok()?;
        Some(Call {
            command,
            binary: command.get(count)?,
            args: &command[count + 1..],
        })
    }

    fn only_lists(&self) -> bool {
        self.args.iter().any(|word| word == "--list")
    }

    fn message(&self, build: &[u8], variable: Option<&OsStr>) -> Message {
        Message::first("test")
            .text("build", build)
            .integer("pid", i64::from(sys::pid()))
            .text("binary", self.binary.as_bytes())
            .text("name", name(self.binary.as_bytes()))
            .integer_or_null("threads", self.threads(variable))
    }

    /// How many tests the harness was told to run at once, or is known to.
    fn threads(&self, variable: Option<&OsStr>) -> Option<i64> {
        let option = self.args.iter().enumerate().find_map(|(index, word)| {
            match word.as_bytes().strip_prefix(b"--test-threads")? {
                b"" => self.args.get(index + 1).and_then(|next| number(next)),
                rest => number(OsStr::from_bytes(rest.strip_prefix(b"=")?)),
            }
        });
        let is_exact = self.args.iter().any(|word| word == "--exact");
        option
            .or_else(|| number(variable?))
            .or(is_exact.then_some(1))
    }

    fn become_it(&self, env: &Env) -> ! {
        let error = match paths::resolve(&self.command[0]) {
            Some(program) => sys::exec(&program, &self.command[1..], env),
            None => std::io::Error::from_raw_os_error(sys::ENOENT),
        };
        never_executed(self.command, &error)
    }

    fn stand_before(&self, env: &Env, mut held: Held) -> ! {
        let Some(program) = paths::resolve(&self.command[0]) else {
            self.become_it(env)
        };
        let Ok(signals) = Signals::catch() else {
            self.become_it(env)
        };
        signals.parent_signals_group(); // nextest makes us lead one; cargo does not
        let child = match Child::start(&signals, &program, &self.command[1..], env, false) {
            Ok(child) => child,
            Err(error) => never_executed(self.command, &error),
        };
        let ended = child.attend(&signals, &mut held);
        held.report(Message::new("test_ended").outcome(&ended).usage(&ended));
        sys::end_like(ended.status)
    }
}

/// A binary's file name without the hash that cargo gives it.
fn name(binary: &[u8]) -> &[u8] {
    let file = paths::basename(binary);
    let stem = file.split(|byte| *byte == b'.').next().unwrap_or(file);
    let Some(dash) = stem.iter().rposition(|byte| *byte == b'-') else {
        return file;
    };
    let hash = &stem[dash + 1..];
    let is_hash = hash.len() == HASH_DIGITS && hash.iter().all(u8::is_ascii_hexdigit);
    if is_hash && dash > 0 {
        &file[..dash]
    } else {
        file
    }
}

fn number(text: &OsStr) -> Option<i64> {
    let number = text.to_str()?.parse::<u16>().ok()?;
    (number > 0).then_some(i64::from(number))
}

/// Take ourselves out of runner variables, and put back what the user had set there.
fn restore_runners(env: &mut Env) {
    for (name, value) in std::env::vars_os() {
        if is_runner(name.as_bytes()) && names_us(value.as_bytes()) {
            let kept = OsString::from_vec([b"FORGE_", name.as_bytes()].concat());
            match std::env::var_os(&kept) {
                Some(users) => env.set(name.as_bytes(), users.as_bytes()),
                None => env.unset(name.as_bytes()),
            }
            env.unset(kept.as_bytes());
        }
    }
}

fn is_runner(name: &[u8]) -> bool {
    name.starts_with(b"CARGO_TARGET_") && name.ends_with(b"_RUNNER")
}

fn names_us(value: &[u8]) -> bool {
    let first = value.split(|byte| *byte == b' ').next().unwrap_or(value);
    paths::basename(first) == NAME
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::json::{self, vectors, Value};

    #[test]
    fn a_call_is_read_as_the_vectors_say() {
        let Some(all) = vectors::load("test_gate.json") else {
            return;
        };
        for case in vectors::items(&all) {
            let argv = case.get("argv").and_then(Value::texts).unwrap();
            let argv: Vec<_> = argv.iter().map(|word| sys::os_string(word)).collect();
            let expected = case.get("test").unwrap();
            let Some(call) = Call::parse(&argv) else {
                assert_eq!(expected, &Value::Null, "{argv:?}");
                continue;
            };
            assert_eq!(call.only_lists(), case.get("lists").is_some(), "{argv:?}");
            let variable = case.get("variable").and_then(Value::text);
            let message = call.message(b"b7", variable.map(OsStr::from_bytes));
            let sent = json::parse(&message.line().unwrap()).unwrap();
            let Value::Object(members) = expected else {
                panic!("{argv:?} is no call: {expected:?}")
            };
            for (key, value) in members {
                let key = std::str::from_utf8(key).unwrap();
                assert_eq!(sent.get(key), Some(value), "{key} of {argv:?}");
            }
        }
    }

    #[test]
    fn only_runner_variables_that_name_us_are_ours() {
        let table: [(&str, &str, bool); 5] = [
            ("CARGO_TARGET_X_RUNNER", "/c/gate/test-gate 0", true),
            ("CARGO_TARGET_X_RUNNER", "test-gate 1 qemu", true),
            ("CARGO_TARGET_X_RUNNER", "qemu test-gate", false),
            ("CARGO_TARGET_X_LINKER", "/c/gate/test-gate", false),
            ("CARGO_TARGET_DIR", "/c/gate/test-gate", false),
        ];
        for (name, value, ours) in table {
            let found = is_runner(name.as_bytes()) && names_us(value.as_bytes());
            assert_eq!(found, ours, "{name}={value}");
        }
    }
}
