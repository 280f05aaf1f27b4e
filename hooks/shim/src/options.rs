//! Forge's own options on a cargo command line, taken out before anybody else reads it: cargo must
//! never see them. The recorded vectors in tests/data/vectors/options.json hold this and the Python
//! side together.

use std::ffi::OsString;
use std::os::unix::ffi::OsStrExt;

use crate::args::{Next, Reader};
use crate::sys;
use crate::waitline;

const PRIORITY: Kind = Kind {
    option: "--forge-priority",
    variable: "FORGE_PRIORITY",
    noun: "priority",
    takes: "`interactive` or `batch`",
    fits: |value| value == b"interactive" || value == b"batch",
};
const WAIT_TIMEOUT: Kind = Kind {
    option: "--forge-wait-timeout",
    variable: "FORGE_WAIT_TIMEOUT",
    noun: "duration",
    takes: "seconds, or as in `90s`, `5m` or `1h`; `0`: do not wait",
    fits: is_duration,
};
const ON: Kind = Kind {
    option: "--on",
    variable: "FORGE_ON",
    noun: "host",
    takes: "a name that ssh knows, as in `studio` or `user@studio`, or `here`",
    fits: is_host,
};
const KINDS: [Kind; 3] = [PRIORITY, WAIT_TIMEOUT, ON];
const MAX_HOST_BYTES: usize = 255;
const SHOWN_CHARACTERS: usize = 40;

/// An option, and the variable that says the same for every build.
struct Kind {
    option: &'static str,
    variable: &'static str,
    noun: &'static str,
    takes: &'static str,
    fits: fn(&[u8]) -> bool,
}

/// The variables that options have set, the last one of a name counts.
pub type Variables = Vec<(&'static str, OsString)>;

/// Split a command line into cargo's words and the variables that Forge's options set. The error is
/// for people.
pub fn take(argv: &[OsString]) -> Result<(Vec<OsString>, Variables), String> {
    let mut cargos = Vec::with_capacity(argv.len());
    let mut variables = Variables::new();
    let mut reader = Reader::default();
    let mut words = argv.iter().cloned();
    while let Some(word) = words.next() {
        let Some((kind, value)) = option(&word) else {
            let next = reader.read(&word);
            cargos.push(word);
            match next {
                Next::Word => {}
                Next::Value => cargos.extend(words.next()),
                Next::Nothing => break,
            }
            continue;
        };
        let value = value.or_else(|| words.next()).unwrap_or_default();
        kind.check(kind.option, &value)?;
        variables.retain(|(name, _)| *name != kind.variable);
        variables.push((kind.variable, value));
    }
    cargos.extend(words);
    Ok((cargos, variables))
}

/// Which variables of the environment are wrong and go for nothing, in lines for people.
pub fn ignored(given: &Variables) -> Vec<String> {
    let is_given = |kind: &Kind| given.iter().any(|(name, _)| *name == kind.variable);
    KINDS
        .iter()
        .filter(|kind| !is_given(kind))
        .filter_map(|kind| {
            let wrong = kind.check(kind.variable, &sys::var(kind.variable)?).err()?;
            Some(format!("{} is ignored: {wrong}", kind.variable))
        })
        .collect()
}

/// The option that a word is, and its value if it is in the same word.
fn option(word: &OsString) -> Option<(&'static Kind, Option<OsString>)> {
    KINDS.iter().find_map(|kind| {
        let rest = word.as_bytes().strip_prefix(kind.option.as_bytes())?;
        match rest.split_first() {
            None => Some((kind, None)),
            Some((b'=', value)) => Some((kind, Some(sys::os_string(value)))),
            Some(_) => None,
        }
    })
}

impl Kind {
    fn check(&self, name: &str, value: &OsString) -> Result<(), String> {
        if (self.fits)(value.as_bytes()) {
            return Ok(());
        }
        let (noun, takes) = (self.noun, self.takes);
        let shown = waitline::printable(value.as_bytes());
        let shown = shown.chars().take(SHOWN_CHARACTERS).collect::<String>();
        let problem = match shown.as_str() {
            "" => format!("`{name}` needs a value"),
            _ => format!("`{shown}` is no {noun}"),
        };
        Err(format!("{problem} (`{name}` takes {takes})"))
    }
}

/// Whether ssh would take this for a host: no option, no blanks, nothing unprintable.
fn is_host(text: &[u8]) -> bool {
    let is_visible = |byte: &u8| *byte > b' ' && *byte != 0x7f;
    let is_short = (1..=MAX_HOST_BYTES).contains(&text.len());
    is_short && text.iter().all(is_visible) && text[0] != b'-'
}

/// Whether this is a number, perhaps with a unit, as in `90`, `90s`, `5m` or `1.5h`.
fn is_duration(text: &[u8]) -> bool {
    let is_space = |byte: &u8| matches!(byte, b' ' | b'\t'..=b'\r');
    let mut rest = text;
    let mut skip = |wanted: &dyn Fn(&u8) -> bool| {
        let count = rest.iter().take_while(|byte| wanted(byte)).count();
        rest = &rest[count..];
        count
    };
    skip(&is_space);
    if !(1..=9).contains(&skip(&u8::is_ascii_digit)) {
        return false;
    }
    match skip(&|byte| *byte == b'.') {
        0 => {}
        1 if (1..=9).contains(&skip(&u8::is_ascii_digit)) => {}
        _ => return false,
    }
    skip(&is_space);
    let units = skip(&|byte| b"smhd".contains(byte));
    skip(&is_space);
    units <= 1 && rest.is_empty()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::json::{vectors, Value};

    #[test]
    fn options_are_taken_out_as_recorded() {
        let Some(all) = vectors::load("options.json") else {
            return;
        };
        for case in vectors::items(&all) {
            let words = |name| {
                let texts = case.get(name).and_then(Value::texts)?;
                let words = texts.iter().map(|text| sys::os_string(text));
                Some(words.collect::<Vec<_>>())
            };
            let argv = words("argv").unwrap();
            let error = case.get("error").and_then(Value::text);
            match take(&argv) {
                Err(line) => assert_eq!(Some(line.as_bytes()), error, "{argv:?}"),
                Ok((cargos, mut variables)) => {
                    variables.sort();
                    let Some(Value::Object(rows)) = case.get("env") else {
                        panic!("{argv:?} is wrong, and taken");
                    };
                    let mut expected = rows
                        .iter()
                        .map(|(name, value)| (name.to_vec(), value.text().unwrap().to_vec()))
                        .collect::<Vec<_>>();
                    expected.sort();
                    let found = variables
                        .iter()
                        .map(|(name, value)| (name.as_bytes().to_vec(), value.as_bytes().to_vec()))
                        .collect::<Vec<_>>();
                    assert_eq!(found, expected, "{argv:?}");
                    assert_eq!(Some(cargos), words("rest"), "{argv:?}");
                }
            }
        }
    }

    #[test]
    fn durations_are_read_as_recorded() {
        let Some(all) = vectors::load("durations.json") else {
            return;
        };
        for case in vectors::items(&all) {
            let text = case.get("text").and_then(Value::text).unwrap();
            let is_one = !matches!(case.get("seconds"), Some(Value::Null));
            assert_eq!(is_duration(text), is_one, "{}", waitline::printable(text));
        }
    }
}
