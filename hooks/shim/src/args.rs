//! What a cargo command line asks for, as far as the launcher must know: the recorded vectors in
//! tests/data/vectors/argv.json hold it and the Python side together.

use std::ffi::OsString;
use std::os::unix::ffi::OsStrExt;

/// How a command line is treated.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// Straight to cargo.
    Pass,
    /// The daemon is asked for the target dir only.
    Redirect,
    /// A build, with all that belongs to it.
    Build,
}

/// Verbs of cargo's own that neither build nor tell where things are built.
const PASS_VERBS: [&str; 27] = [
    "add",
    "config",
    "fetch",
    "fmt",
    "generate-lockfile",
    "git-checkout",
    "help",
    "info",
    "init",
    "locate-project",
    "login",
    "logout",
    "new",
    "owner",
    "pkgid",
    "read-manifest",
    "remove",
    "report",
    "rm",
    "search",
    "tree",
    "uninstall",
    "update",
    "vendor",
    "verify-project",
    "version",
    "yank",
];
const REDIRECT_VERBS: [&str; 2] = ["clean", "metadata"];
/// Verbs of cargo's own, besides those above: their options are cargo's. Others are aliases and
/// external subcommands, and whose help they would print is not known.
const BUILD_VERBS: [&str; 18] = [
    "b", "bench", "build", "c", "check", "clippy", "d", "doc", "fix", "install", "package",
    "publish", "r", "run", "rustc", "rustdoc", "t", "test",
];
/// Verbs behind whose first positional nothing is cargo's any more.
const ENDED_BY_A_POSITIONAL: [&str; 4] = ["r", "run", "rustc", "rustdoc"];
/// Options before the verb whose value is a word of its own.
const GLOBAL_WITH_VALUE: [&str; 5] = ["--color", "--config", "-C", "-Z", "--explain"];
/// The same behind the verb, besides those above (cargo 1.95).
const WITH_VALUE: [&str; 18] = [
    "--artifact-dir",
    "--bench",
    "--bin",
    "--example",
    "--exclude",
    "--features",
    "--jobs",
    "--lockfile-path",
    "--manifest-path",
    "--message-format",
    "--package",
    "--profile",
    "--target",
    "--target-dir",
    "--test",
    "-F",
    "-j",
    "-p",
];
const HELP: [&str; 2] = ["-h", "--help"];
const ANSWERED_AT_ONCE: [&str; 6] = ["-h", "--help", "-V", "--version", "--list", "--explain"];

fn is_one_of(word: &OsString, table: &[&str]) -> bool {
    table
        .iter()
        .any(|entry| entry.as_bytes() == word.as_bytes())
}

/// What follows a word of cargo's.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Next {
    /// Another word of cargo's.
    Word,
    /// The value of this option.
    Value,
    /// Nothing that is cargo's.
    Nothing,
}

/// Reads a command line word by word, to tell what cargo itself will read as options. Behind a verb
/// that is not cargo's own that is up to `--`: such a subcommand hands on to cargo what it knows.
#[derive(Default)]
pub struct Reader {
    verb: Option<OsString>,
    has_begun: bool,
}

impl Reader {
    pub fn read(&mut self, word: &OsString) -> Next {
        let is_first = !std::mem::replace(&mut self.has_begun, true);
        let is_positional = !word.as_bytes().starts_with(b"-");
        let takes_the_next = match &self.verb {
            _ if word == "--" => return Next::Nothing,
            Some(verb) if is_positional && is_one_of(verb, &ENDED_BY_A_POSITIONAL) => {
                return Next::Nothing
            }
            Some(verb) => is_own(verb) && takes_a_value(word),
            None => is_one_of(word, &GLOBAL_WITH_VALUE),
        };
        if takes_the_next {
            return Next::Value;
        }
        if self.verb.is_none() && is_positional && !(is_first && is_toolchain(word)) {
            self.verb = Some(word.clone());
        }
        Next::Word
    }
}

fn is_toolchain(word: &OsString) -> bool {
    let word = word.as_bytes();
    word.len() > 1 && word.starts_with(b"+")
}

/// Where the verb is in what follows `cargo`, if there is one.
pub fn verb_index(argv: &[OsString]) -> Option<usize> {
    let has_toolchain = argv.first().is_some_and(is_toolchain);
    let mut index = usize::from(has_toolchain);
    while index < argv.len() {
        if !argv[index].as_bytes().starts_with(b"-") {
            return Some(index);
        }
        let takes_the_next = is_one_of(&argv[index], &GLOBAL_WITH_VALUE);
        index += 1 + usize::from(takes_the_next);
    }
    None
}

pub fn kind(argv: &[OsString]) -> Kind {
    let Some(at) = verb_index(argv) else {
        return Kind::Pass;
    };
    let asks = |words: &[OsString], table| words.iter().any(|word| is_one_of(word, table));
    if is_one_of(&argv[at], &PASS_VERBS)
        || asks(&argv[..at], &ANSWERED_AT_ONCE)
        || asks(own_options(argv, at), &HELP)
    {
        return Kind::Pass;
    }
    if is_one_of(&argv[at], &REDIRECT_VERBS) {
        return Kind::Redirect;
    }
    Kind::Build
}

/// The words behind the verb at `at` that are cargo's own: not those behind `--`, not those of the
/// program that `cargo run` starts, and none behind a verb that is not cargo's.
fn own_options(argv: &[OsString], at: usize) -> &[OsString] {
    let behind = &argv[at + 1..];
    if !is_own(&argv[at]) {
        return &[];
    }
    let ends_early = is_one_of(&argv[at], &ENDED_BY_A_POSITIONAL);
    let mut end = 0;
    while let Some(word) = behind.get(end) {
        let is_positional = !word.as_bytes().starts_with(b"-");
        if word == "--" || (is_positional && ends_early) {
            return &behind[..end];
        }
        end += 1 + usize::from(takes_a_value(word));
    }
    behind
}

fn takes_a_value(word: &OsString) -> bool {
    is_one_of(word, &WITH_VALUE) || is_one_of(word, &GLOBAL_WITH_VALUE)
}

fn is_own(verb: &OsString) -> bool {
    is_one_of(verb, &PASS_VERBS)
        || is_one_of(verb, &REDIRECT_VERBS)
        || is_one_of(verb, &BUILD_VERBS)
}

/// The value of `--manifest-path`, as written. Behind a verb that is not cargo's own it counts as
/// well: such a subcommand hands it on to cargo.
pub fn manifest_path(argv: &[OsString]) -> Option<OsString> {
    const NAME: &[u8] = b"--manifest-path";
    let words = match verb_index(argv) {
        Some(at) if is_own(&argv[at]) => own_options(argv, at),
        _ => argv,
    };
    let mut words = words.iter().take_while(|word| *word != "--");
    let mut found = None;
    while let Some(word) = words.next() {
        let bytes = word.as_bytes();
        if bytes == NAME {
            found = words.next().cloned();
        } else if bytes.starts_with(NAME) && bytes.get(NAME.len()) == Some(&b'=') {
            found = Some(crate::sys::os_string(&bytes[NAME.len() + 1..]));
        }
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::json::vectors;

    #[test]
    fn every_recorded_command_line_is_of_its_recorded_kind() {
        let Some(all) = vectors::load("argv.json") else {
            return;
        };
        for case in vectors::items(&all) {
            let argv: Vec<OsString> = case
                .get("argv")
                .and_then(|argv| argv.texts())
                .unwrap()
                .iter()
                .map(|word| crate::sys::os_string(word))
                .collect();
            let verb = verb_index(&argv).map(|at| argv[at].as_bytes());
            let expected = case.get("kind").unwrap().text().unwrap();
            let kind: &[u8] = match kind(&argv) {
                Kind::Pass => b"pass",
                Kind::Redirect => b"redirect",
                Kind::Build => b"build",
            };
            assert_eq!(kind, expected, "{argv:?}");
            assert_eq!(verb, case.get("verb").unwrap().text(), "{argv:?}");
        }
    }

    #[test]
    fn the_manifest_path_is_found_in_both_forms() {
        let words = |text: &str| text.split(' ').map(OsString::from).collect::<Vec<_>>();
        let found = |text| manifest_path(&words(text));
        assert_eq!(
            found("build --manifest-path a/Cargo.toml"),
            Some("a/Cargo.toml".into())
        );
        assert_eq!(found("build --manifest-path=b"), Some("b".into()));
        assert_eq!(found("run -- --manifest-path=b"), None);
        assert_eq!(found("run prog --manifest-path b"), None); // the program's
        assert_eq!(found("run -p x --manifest-path b prog"), Some("b".into()));
        assert_eq!(found("nextest run --manifest-path b"), Some("b".into()));
    }
}
