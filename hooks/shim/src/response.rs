//! Files named on a linker's command line, `@file` arguments included.

use std::collections::HashSet;
use std::ffi::{OsStr, OsString};
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

use crate::sys;

const MAX_BYTES: u64 = 64 * 1024 * 1024;
const MAX_DEPTH: usize = 4;
const MAX_WORDS: usize = 1_000_000;

/// Replace `@file` by the words in it, as GNU tools do; a file that cannot be read stays as it is.
pub fn expand(args: &[OsString]) -> Vec<OsString> {
    let mut words = Vec::with_capacity(args.len());
    for arg in args {
        expand_into(&mut words, arg, 0);
    }
    words
}

fn expand_into(words: &mut Vec<OsString>, arg: &OsString, depth: usize) {
    if words.len() >= MAX_WORDS {
        return;
    }
    let content = match arg.as_bytes().strip_prefix(b"@") {
        Some(path) if depth < MAX_DEPTH => read(Path::new(OsStr::from_bytes(path))),
        _ => None,
    };
    match content {
        None => words.push(arg.clone()),
        Some(content) => {
            for word in split(&content) {
                expand_into(words, &sys::os_string(&word), depth + 1);
            }
        }
    }
}

fn read(path: &Path) -> Option<Vec<u8>> {
    let found = std::fs::metadata(path).ok()?;
    (found.is_file() && found.len() <= MAX_BYTES).then(|| std::fs::read(path).ok())?
}

/// Words are parted by white space; quotes hold it together, a backslash takes the next byte as
/// it is, in single quotes as well.
fn split(content: &[u8]) -> Vec<Vec<u8>> {
    let mut words = Vec::new();
    let mut word: Option<Vec<u8>> = None;
    let mut quote = None;
    let mut bytes = content.iter().copied();
    while let Some(byte) = bytes.next() {
        match (byte, quote) {
            (b'\\', _) => word.get_or_insert_with(Vec::new).extend(bytes.next()),
            (_, Some(open)) if byte == open => quote = None,
            (b'"' | b'\'', None) => {
                quote = Some(byte);
                word.get_or_insert_with(Vec::new);
            }
            (_, None) if byte.is_ascii_whitespace() => words.extend(word.take()),
            _ => word.get_or_insert_with(Vec::new).push(byte),
        }
    }
    words.extend(word);
    words
}

/// What a linker is told to read and to write.
#[derive(Debug, Default, PartialEq)]
pub struct Files {
    pub output: Option<OsString>,
    pub inputs: i64,
    pub input_bytes: i64,
}

const WITH_OTHER_VALUE: [&[u8]; 7] = [
    b"-L",
    b"-T",
    b"-F",
    b"-framework",
    b"-isysroot",
    b"-arch",
    b"-target",
];

/// Sum the files that the command line names, each once.
pub fn files(words: &[OsString]) -> Files {
    let mut files = Files::default();
    let mut seen = HashSet::new();
    let mut words = words.iter();
    while let Some(word) = words.next() {
        let bytes = word.as_bytes();
        if bytes == b"-o" {
            files.output = words.next().cloned();
        } else if WITH_OTHER_VALUE.contains(&bytes) {
            words.next();
        } else if let Some(passed) = bytes.strip_prefix(b"-Wl,") {
            for part in passed.split(|byte| *byte == b',') {
                files.add(&mut seen, part);
            }
        } else {
            files.add(&mut seen, bytes);
        }
    }
    files
}

impl Files {
    fn add(&mut self, seen: &mut HashSet<Vec<u8>>, path: &[u8]) {
        if path.is_empty() || path.starts_with(b"-") || seen.contains(path) {
            return;
        }
        let Ok(found) = std::fs::metadata(OsStr::from_bytes(path)) else {
            return;
        };
        if found.is_file() {
            seen.insert(path.to_vec());
            self.inputs += 1;
            let len = i64::try_from(found.len()).unwrap_or(i64::MAX);
            self.input_bytes = self.input_bytes.saturating_add(len); // sparse files can be huge
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shown(content: &[u8]) -> Vec<String> {
        split(content)
            .iter()
            .map(|word| String::from_utf8_lossy(word).into_owned())
            .collect()
    }

    #[test]
    fn quotes_and_backslashes_hold_words_together() {
        assert_eq!(shown(b"a b\nc"), ["a", "b", "c"]);
        assert_eq!(shown(b"\"a b\" 'c d'"), ["a b", "c d"]);
        assert_eq!(shown(br#"a\ b "c\"d" e\\f"#), ["a b", "c\"d", "e\\f"]);
        assert_eq!(shown(b"'' x"), ["", "x"]);
        assert_eq!(shown(b"  \n"), Vec::<String>::new());
    }

    #[test]
    fn files_are_counted_once_and_values_of_options_not_at_all() {
        let directory = std::env::temp_dir().join(format!("forge-response-{}", std::process::id()));
        std::fs::create_dir_all(&directory).unwrap();
        let path = |name: &str| directory.join(name).into_os_string();
        std::fs::write(path("a.o"), [0; 10]).unwrap();
        std::fs::write(path("b.rlib"), [0; 5]).unwrap();
        std::fs::write(path("out"), [0; 99]).unwrap();
        let mut listed = path("b.rlib").into_encoded();
        listed.extend_from_slice(b"\n-o ");
        listed.extend_from_slice(path("out").as_bytes());
        std::fs::write(path("args"), listed).unwrap();
        let mut response = OsString::from("@");
        response.push(path("args"));
        let words = expand(&[path("a.o"), path("a.o"), "-L".into(), path("out"), response]);
        let expected = Files {
            output: Some(path("out")),
            inputs: 2,
            input_bytes: 15,
        };
        assert_eq!(files(&words), expected);
        std::fs::remove_dir_all(&directory).unwrap();
    }

    trait IntoEncoded {
        fn into_encoded(self) -> Vec<u8>;
    }
    impl IntoEncoded for OsString {
        fn into_encoded(self) -> Vec<u8> {
            self.as_bytes().to_vec()
        }
    }
}
