//! What a rustc command line compiles. Cases: tests/data/vectors/rustc.json.

use std::ffi::OsString;
use std::os::unix::ffi::OsStrExt;

use crate::begin;
use crate::message::Message;
use crate::paths;

/// One call of rustc, in rustc's own words.
#[derive(Debug, Default)]
pub struct Unit {
    pub crate_name: Vec<u8>,
    kinds: Vec<Vec<u8>>,
    emit: Vec<Vec<u8>>,
    test: bool,
    opt: Option<Vec<u8>>,
    debug: Option<Vec<u8>>,
    lto: Option<Vec<u8>>,
    codegen_units: Option<i64>,
    incremental: bool,
    metadata: Option<Vec<u8>>,
    extra_filename: Vec<u8>,
    externs: Vec<Vec<u8>>,
    pub target: Option<Vec<u8>>,
    pub linker: Option<Vec<u8>>,
    linker_flavor: Option<Vec<u8>>,
}

/// Read rustc's arguments; None when it is only asked about itself, not told to compile a crate.
pub fn parse(args: &[OsString]) -> Option<Unit> {
    let mut unit = Unit::default();
    let mut words = args.iter().map(|word| word.as_bytes());
    while let Some(word) = words.next() {
        match word {
            b"-vV" | b"-V" | b"--version" | b"-" | b"-h" | b"--help" => return None,
            b"--test" => unit.test = true,
            b"-O" => unit.opt = Some(b"3".to_vec()),
            b"-g" => unit.debug = Some(b"2".to_vec()),
            b"-C" | b"--codegen" => unit.codegen(words.next()?),
            b"--crate-name" | b"--crate-type" | b"--emit" | b"--target" | b"--extern" => {
                unit.option(&word[2..], words.next()?);
            }
            _ => unit.joined(word),
        }
    }
    (!unit.crate_name.is_empty() && unit.crate_name != b"___").then_some(unit)
}

impl Unit {
    fn joined(&mut self, word: &[u8]) {
        if let Some(text) = word.strip_prefix(b"--codegen=") {
            self.codegen(text);
        } else if let Some(long) = word.strip_prefix(b"--") {
            let (name, value) = split(long);
            self.option(name, value.unwrap_or_default());
        } else if let Some(text) = word.strip_prefix(b"-C") {
            self.codegen(text);
        }
    }

    fn option(&mut self, name: &[u8], value: &[u8]) {
        match name {
            b"crate-name" => self.crate_name = value.to_vec(),
            b"crate-type" => self
                .kinds
                .extend(value.split(|b| *b == b',').map(<[u8]>::to_vec)),
            b"target" => self.target = Some(value.to_vec()),
            b"emit" => {
                let kinds = value
                    .split(|byte| *byte == b',')
                    .map(|kind| split(kind).0.to_vec());
                self.emit.extend(kinds);
            }
            b"extern" => self.externs.extend(extern_id(value)),
            _ => {}
        }
    }

    fn codegen(&mut self, text: &[u8]) {
        let (name, value) = split(text);
        let given = || Some(value.unwrap_or_default().to_vec());
        match name {
            b"opt-level" => self.opt = given(),
            b"debuginfo" => self.debug = given(),
            b"lto" => self.lto = Some(value.unwrap_or(b"fat").to_vec()),
            b"codegen-units" => self.codegen_units = number(value.unwrap_or_default()),
            b"incremental" => self.incremental = true,
            b"metadata" => self.metadata = given(),
            b"extra-filename" => self.extra_filename = value.unwrap_or_default().to_vec(),
            b"linker" => self.linker = given(),
            b"linker-flavor" => self.linker_flavor = given(),
            _ => {}
        }
    }

    /// Whether rustc runs a linker for it.
    pub fn links(&self) -> bool {
        const LINKED: [&[u8]; 4] = [b"bin", b"dylib", b"cdylib", b"proc-macro"];
        let emits = self.emit.is_empty() || self.emit.iter().any(|kind| kind == b"link");
        let is_linked = |kind: &Vec<u8>| LINKED.contains(&kind.as_slice());
        emits && (self.test || self.kinds.is_empty() || self.kinds.iter().any(is_linked))
    }

    /// The linker that rustc would run; None when that is not known for sure.
    pub fn real_linker(&self) -> Option<Vec<u8>> {
        if let Some(given) = &self.linker {
            return Some(given.clone());
        }
        let uses_cc = self.target.as_deref().map_or(true, defaults_to_cc);
        let as_driver = self.linker_flavor.as_deref().map_or(true, is_like_gcc);
        (uses_cc && as_driver).then(|| b"cc".to_vec())
    }

    /// The crate's name with its extra-filename: what its files are called, but for `lib`.
    ///
    /// Cargo gives none to what is found by its name, as a cdylib is.
    fn id(&self) -> Vec<u8> {
        [&self.crate_name[..], &self.extra_filename].concat()
    }

    /// The request of its gate; `var` reads the environment that cargo has set for it.
    pub fn message(&self, build: &[u8], var: &dyn Fn(&str) -> Option<OsString>) -> Message {
        let package = var("CARGO_PKG_NAME");
        let lender = begin::lender(var);
        let test: &[Vec<u8>] = &[b"test".to_vec()];
        let kinds = if self.test { test } else { &self.kinds };
        Message::first("unit")
            .text("build", build)
            .integer("pid", i64::from(crate::sys::pid()))
            .text("crate", &self.crate_name)
            .texts("kinds", kinds.iter().map(Vec::as_slice))
            .text_or_null("package", package.as_ref().map(|name| name.as_bytes()))
            .text("id", &self.id())
            .texts("externs", self.externs.iter().map(Vec::as_slice))
            .flag("uses_build_script", var("OUT_DIR").is_some())
            .text_or_null("lender", lender.as_ref().map(|build| build.as_bytes()))
            .flag("links", self.links())
            .text("opt", self.opt.as_deref().unwrap_or(b"0"))
            .text("debug", self.debug.as_deref().unwrap_or(b"0"))
            .text_or_null("lto", self.lto.as_deref())
            .integer_or_null("codegen_units", self.codegen_units)
            .text_or_null("target", self.target.as_deref())
            .flag("incremental", self.incremental)
            .texts("emit", self.emit.iter().map(Vec::as_slice))
            .text_or_null("metadata", self.metadata.as_deref())
    }
}

/// Targets for which rustc calls `cc` unless told otherwise. Bare metal, wasm, Windows and Android
/// are left alone: a wrong guess would break the link.
fn defaults_to_cc(target: &[u8]) -> bool {
    let Ok(target) = std::str::from_utf8(target) else {
        return false;
    };
    // Hexagon's specification names a clang of its own.
    if target.ends_with(".json") || target.starts_with("hexagon-") {
        return false;
    }
    let system = target.split_once('-').map_or("", |(_, system)| system);
    let known = ["unknown-linux-gnu", "unknown-linux-musl", "apple-darwin"];
    let bsd = [
        "unknown-freebsd",
        "unknown-netbsd",
        "unknown-openbsd",
        "unknown-dragonfly",
    ];
    known.iter().any(|known| system.starts_with(known)) || bsd.contains(&system)
}

/// Linker flavors (`-C linker-flavor`) for which rustc calls `cc`: `gcc`, and those like
/// `gnu-lld-cc`. Any other makes it call a linker of that flavor's own.
fn is_like_gcc(flavor: &[u8]) -> bool {
    flavor == b"gcc" || flavor.ends_with(b"-cc")
}

/// The id of a crate that is compiled against, `OPTIONS:NAME=PATH`, from the name of its file.
fn extern_id(text: &[u8]) -> Option<Vec<u8>> {
    let name = paths::basename(split(text).1?);
    let dot = name.iter().rposition(|byte| *byte == b'.')?;
    let id = name[..dot].strip_prefix(b"lib")?;
    (!id.is_empty()).then(|| id.to_vec())
}

fn split(text: &[u8]) -> (&[u8], Option<&[u8]>) {
    match text.iter().position(|byte| *byte == b'=') {
        Some(at) => (&text[..at], Some(&text[at + 1..])),
        None => (text, None),
    }
}

fn number(text: &[u8]) -> Option<i64> {
    std::str::from_utf8(text).ok()?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::json::{self, vectors, Value};

    #[test]
    fn every_recorded_rustc_call_is_read_as_recorded() {
        let Some(all) = vectors::load("rustc.json") else {
            return;
        };
        for case in vectors::items(&all) {
            let argv: Vec<OsString> = case
                .get("argv")
                .and_then(Value::texts)
                .unwrap()
                .iter()
                .map(|word| crate::sys::os_string(word))
                .collect();
            let expected = case.get("unit").unwrap();
            let Some(unit) = parse(&argv) else {
                assert_eq!(expected, &Value::Null, "{argv:?}");
                continue;
            };
            let set = case.get("env");
            let var = |name: &str| {
                let value = set?.get(name)?.text()?;
                Some(crate::sys::os_string(value))
            };
            let line = unit.message(b"1", &var).line().unwrap();
            let Some(Value::Object(members)) = json::parse(&line) else {
                panic!("no object")
            };
            let unit_only = members.into_iter().filter(|(name, _)| {
                !["type", "v", "build", "pid"]
                    .iter()
                    .any(|n| n.as_bytes() == name)
            });
            let Value::Object(wanted) = expected else {
                panic!("{argv:?} is a probe: {expected:?}")
            };
            assert_eq!(unit_only.collect::<Vec<_>>(), *wanted, "{argv:?}");
            let linker = case.get("linker").and_then(Value::text).map(<[u8]>::to_vec);
            assert_eq!(unit.real_linker(), linker, "{argv:?}");
        }
    }

    fn linker_of(options: &str) -> Option<String> {
        let argv = format!("--crate-name x --crate-type bin {options}");
        let argv = argv.split_whitespace().map(OsString::from);
        let linker = parse(&argv.collect::<Vec<_>>()).unwrap().real_linker();
        linker.map(|linker| String::from_utf8(linker).unwrap())
    }

    #[test]
    fn a_linker_is_gated_only_where_it_is_known_for_sure() {
        let cc = Some("cc".to_owned());
        assert_eq!(linker_of("--target x86_64-unknown-linux-musl"), cc);
        assert_eq!(linker_of("--target hexagon-unknown-linux-musl"), None);
        let given = "--target hexagon-unknown-linux-musl -Clinker=/x/clang";
        assert_eq!(linker_of(given), Some("/x/clang".to_owned()));
        for flavor in [
            "gcc",
            "gnu-cc",
            "gnu-lld-cc",
            "darwin-cc",
            "darwin-lld-cc",
            "unix-cc",
        ] {
            assert_eq!(linker_of(&format!("-Clinker-flavor={flavor}")), cc);
        }
        for flavor in [
            "ld", "ld.lld", "gnu", "gnu-lld", "lld-link", "msvc", "em", "",
        ] {
            let option = format!("-C linker-flavor={flavor}");
            assert_eq!(linker_of(&option), None, "{flavor}");
            let given = format!("{option} -C linker=/x/ld");
            assert_eq!(linker_of(&given), Some("/x/ld".to_owned()), "{flavor}");
        }
        // The last one counts.
        assert_eq!(linker_of("-Clinker-flavor=ld -Clinker-flavor=gcc"), cc);
    }
}
