//! Which linker it is, as far as the command line tells.

use std::ffi::{OsStr, OsString};
use std::os::unix::ffi::OsStrExt;

use crate::paths;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    Ld,
    Lld,
    Mold,
    Apple,
    Other,
}

impl Kind {
    pub fn of(real: &OsStr, words: &[OsString]) -> Kind {
        let real = paths::basename(real.as_bytes());
        let name = match chosen(words) {
            Some(chosen) if !is_raw(real) => paths::basename(chosen), // a driver obeys
            _ => real,
        };
        if is_mold(name) {
            return Kind::Mold;
        }
        let name = String::from_utf8_lossy(name);
        if name.contains("gold") || name.contains("wild") || name.contains("mold") {
            Kind::Other
        } else if name.contains("lld") {
            Kind::Lld
        } else if cfg!(target_os = "macos") && !name.contains("gcc") {
            Kind::Apple
        } else if is_driver(&name) || name == "ld" || name.ends_with("-ld") || name.contains("bfd")
        {
            Kind::Ld
        } else {
            Kind::Other
        }
    }

    pub fn name(self) -> &'static str {
        match self {
            Kind::Ld => "ld",
            Kind::Lld => "lld",
            Kind::Mold => "mold",
            Kind::Apple => "apple",
            Kind::Other => "other",
        }
    }

    /// mold works in a child and leaves early, so that its memory would never be seen.
    pub fn stay_in_one_process(self, real: &OsStr, words: &[OsString]) -> Option<OsString> {
        let stays = words.iter().any(|word| {
            let word = word.as_bytes();
            word.ends_with(b"--no-fork") || word.ends_with(b"--fork")
        });
        if self != Kind::Mold || stays || cfg!(target_os = "macos") {
            return None;
        }
        let is_mold_itself = is_mold(paths::basename(real.as_bytes()));
        Some(OsString::from(if is_mold_itself {
            "--no-fork"
        } else {
            "-Wl,--no-fork"
        }))
    }
}

/// The linker that the arguments make a compiler driver use. Clang prefers `--ld-path`.
fn chosen(words: &[OsString]) -> Option<&[u8]> {
    let last = |option: &[u8]| {
        let mut latest_first = words.iter().rev();
        latest_first.find_map(|word| word.as_bytes().strip_prefix(option))
    };
    last(b"--ld-path=").or_else(|| last(b"-fuse-ld="))
}

/// Exactly mold: of a program whose name only contains the word nothing is known.
fn is_mold(name: &[u8]) -> bool {
    [&b"mold"[..], b"ld.mold"].contains(&name)
}

/// Whether a linker of this name takes ld's own command line, not that of a compiler driver: to
/// such a one `-fuse-ld=x` means something else.
fn is_raw(name: &[u8]) -> bool {
    const NAMES: [&[u8]; 5] = [b"ld", b"lld", b"lld-link", b"mold", b"rust-lld"];
    const BEGINNINGS: [&[u8]; 3] = [b"ld.", b"ld64", b"lld-"];
    NAMES.contains(&name)
        || BEGINNINGS.iter().any(|begin| name.starts_with(begin))
        || name.ends_with(b"-ld")
}

fn is_driver(name: &str) -> bool {
    ["cc", "gcc", "c++", "g++", "clang", "clang++"]
        .iter()
        .any(|driver| {
            name == *driver
                || name.ends_with(&format!("-{driver}"))
                || name.starts_with(&format!("{driver}-"))
        })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sys;

    fn of(real: &str, words: &[&str]) -> (Kind, Option<OsString>) {
        let words = words.iter().map(OsString::from).collect::<Vec<_>>();
        let kind = Kind::of(real.as_ref(), &words);
        (kind, kind.stay_in_one_process(real.as_ref(), &words))
    }

    #[cfg(target_os = "linux")]
    #[test]
    fn the_kind_of_linker_is_read_from_the_command_line() {
        let wl = Some(OsString::from("-Wl,--no-fork"));
        let direct = Some(OsString::from("--no-fork"));
        assert_eq!(of("cc", &["-m64"]), (Kind::Ld, None));
        assert_eq!(of("aarch64-linux-gnu-gcc", &[]), (Kind::Ld, None));
        assert_eq!(of("clang-18", &["-fuse-ld=lld"]), (Kind::Lld, None));
        assert_eq!(of("rust-lld", &[]), (Kind::Lld, None));
        assert_eq!(of("cc", &["-fuse-ld=mold"]), (Kind::Mold, wl.clone()));
        assert_eq!(
            of("clang", &["--ld-path=/opt/mold"]),
            (Kind::Mold, wl.clone())
        );
        assert_eq!(of("/usr/bin/ld.mold", &[]), (Kind::Mold, direct));
        assert_eq!(
            of("cc", &["-fuse-ld=mold", "-Wl,--no-fork"]),
            (Kind::Mold, None)
        );
        // The last one counts, and lld knows no --no-fork.
        assert_eq!(
            of("cc", &["-fuse-ld=mold", "-fuse-ld=lld"]),
            (Kind::Lld, None)
        );
        assert_eq!(of("my-linker", &[]), (Kind::Other, None));
        assert_eq!(of("clang++", &[]), (Kind::Ld, None));
    }

    #[cfg(target_os = "linux")]
    #[test]
    fn only_mold_itself_is_told_not_to_fork() {
        let wl = Some(OsString::from("-Wl,--no-fork"));
        let direct = Some(OsString::from("--no-fork"));
        assert_eq!(of("/opt/bin/mold", &[]), (Kind::Mold, direct));
        for name in ["mold-wrapper", "my-mold", "ld.mold.sh", "cc-mold", "moldy"] {
            assert_eq!(of(name, &[]), (Kind::Other, None), "{name}");
        }
        assert_eq!(of("cc", &["-fuse-ld=my-mold"]), (Kind::Other, None));
        assert_eq!(of("cc", &["-fuse-ld=/x/mold"]), (Kind::Mold, wl.clone()));
        assert_eq!(
            of("cc", &["--ld-path=/x/ld.mold"]),
            (Kind::Mold, wl.clone())
        );
        assert_eq!(
            of("clang", &["--ld-path=/x/ld.lld", "-fuse-ld=mold"]),
            (Kind::Lld, None)
        );
        // A wrapper that is called as a driver is one, whatever its name.
        assert_eq!(of("my-mold", &["-fuse-ld=mold"]), (Kind::Mold, wl));
        // To ld itself `-fuse-ld=mold` is `-f use-ld=mold`.
        assert_eq!(of("ld", &["-fuse-ld=mold"]), (Kind::Ld, None));
        assert_eq!(of("ld.lld", &["--ld-path=mold"]), (Kind::Lld, None));
    }

    #[test]
    fn a_name_that_is_not_utf8_is_some_linker() {
        let name = sys::os_string(b"/opt/\xffld");
        assert_eq!(
            Kind::of(&name, std::slice::from_ref(&name)),
            Kind::of(&name, &[])
        );
        assert_eq!(
            Kind::of("cc".as_ref(), &[sys::os_string(b"-fuse-ld=\xff")])
                .stay_in_one_process(&name, &[]),
            None
        );
    }
}
