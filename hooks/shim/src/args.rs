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
const WITH_VALUE: [&str; 5] = ["--color", "--config", "-C", "-Z", "--explain"];
const ANSWERED_AT_ONCE: [&str; 6] = ["-h", "--help", "-V", "--version", "--list", "--explain"];

fn is_one_of(word: &OsString, table: &[&str]) -> bool {
    table
        .iter()
        .any(|entry| entry.as_bytes() == word.as_bytes())
}

/// Where the verb is in what follows `cargo`, if there is one.
pub fn verb_index(argv: &[OsString]) -> Option<usize> {
    let has_toolchain = argv
        .first()
        .is_some_and(|word| word.as_bytes().starts_with(b"+"));
    let mut index = usize::from(has_toolchain);
    while index < argv.len() {
        if !argv[index].as_bytes().starts_with(b"-") {
            return Some(index);
        }
        index += if is_one_of(&argv[index], &WITH_VALUE) {
            2
        } else {
            1
        };
    }
    None
}

pub fn kind(argv: &[OsString]) -> Kind {
    let Some(at) = verb_index(argv) else {
        return Kind::Pass;
    };
    let verb = &argv[at];
    let cargos = argv[at + 1..]
        .iter()
        .take_while(|word| word.as_bytes() != b"--");
    if argv[..at]
        .iter()
        .any(|word| is_one_of(word, &ANSWERED_AT_ONCE))
        || is_one_of(verb, &PASS_VERBS)
        || cargos
            .into_iter()
            .any(|word| is_one_of(word, &["-h", "--help"]))
    {
        return Kind::Pass;
    }
    if is_one_of(verb, &REDIRECT_VERBS) {
        return Kind::Redirect;
    }
    Kind::Build
}

/// The value of `--manifest-path`, as written.
pub fn manifest_path(argv: &[OsString]) -> Option<OsString> {
    const NAME: &[u8] = b"--manifest-path";
    let mut words = argv.iter().take_while(|word| word.as_bytes() != b"--");
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
    }
}
