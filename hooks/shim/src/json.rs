//! JSON as the protocol uses it. Text is bytes here: what is not UTF-8 travels as the lone
//! surrogates U+DC80 to U+DCFF (PEP 383), written as `\udcXX` escapes.

const MAX_DEPTH: usize = 32;

#[derive(Clone, Debug, PartialEq)]
pub enum Value {
    Null,
    Bool(bool),
    Number(f64),
    Text(Vec<u8>),
    List(Vec<Value>),
    Object(Vec<(Vec<u8>, Value)>),
}

impl Value {
    /// A member of an object; the last one counts when a name comes twice.
    pub fn get(&self, name: &str) -> Option<&Value> {
        let Value::Object(members) = self else {
            return None;
        };
        members
            .iter()
            .rev()
            .find(|(key, _)| key == name.as_bytes())
            .map(|(_, value)| value)
    }

    pub fn text(&self) -> Option<&[u8]> {
        match self {
            Value::Text(bytes) => Some(bytes),
            _ => None,
        }
    }

    pub fn number(&self) -> Option<f64> {
        match self {
            Value::Number(number) => Some(*number),
            _ => None,
        }
    }

    /// A list of texts, and nothing else.
    pub fn texts(&self) -> Option<Vec<Vec<u8>>> {
        let Value::List(items) = self else {
            return None;
        };
        items
            .iter()
            .map(|item| item.text().map(<[u8]>::to_vec))
            .collect()
    }
}

/// Read one document; None when it is not JSON.
pub fn parse(input: &[u8]) -> Option<Value> {
    let mut reader = Reader { input, at: 0 };
    let value = reader.value(0)?;
    reader.blank();
    (reader.at == input.len()).then_some(value)
}

struct Reader<'a> {
    input: &'a [u8],
    at: usize,
}

impl Reader<'_> {
    fn blank(&mut self) {
        while matches!(self.peek(), Some(b' ' | b'\t' | b'\n' | b'\r')) {
            self.at += 1;
        }
    }

    fn peek(&self) -> Option<u8> {
        self.input.get(self.at).copied()
    }

    fn take(&mut self, expected: u8) -> Option<()> {
        (self.peek()? == expected).then(|| self.at += 1)
    }

    fn word(&mut self, word: &[u8], value: Value) -> Option<Value> {
        self.input[self.at..].starts_with(word).then(|| {
            self.at += word.len();
            value
        })
    }

    fn value(&mut self, depth: usize) -> Option<Value> {
        if depth > MAX_DEPTH {
            return None;
        }
        self.blank();
        match self.peek()? {
            b'{' => self.object(depth),
            b'[' => self.list(depth),
            b'"' => self.string().map(Value::Text),
            b't' => self.word(b"true", Value::Bool(true)),
            b'f' => self.word(b"false", Value::Bool(false)),
            b'n' => self.word(b"null", Value::Null),
            _ => self.number(),
        }
    }

    fn object(&mut self, depth: usize) -> Option<Value> {
        self.take(b'{')?;
        let mut members = Vec::new();
        self.blank();
        if self.take(b'}').is_some() {
            return Some(Value::Object(members));
        }
        loop {
            self.blank();
            let name = self.string()?;
            self.blank();
            self.take(b':')?;
            members.push((name, self.value(depth + 1)?));
            self.blank();
            if self.take(b',').is_none() {
                return self.take(b'}').map(|()| Value::Object(members));
            }
        }
    }

    fn list(&mut self, depth: usize) -> Option<Value> {
        self.take(b'[')?;
        let mut items = Vec::new();
        self.blank();
        if self.take(b']').is_some() {
            return Some(Value::List(items));
        }
        loop {
            items.push(self.value(depth + 1)?);
            self.blank();
            if self.take(b',').is_none() {
                return self.take(b']').map(|()| Value::List(items));
            }
        }
    }

    fn number(&mut self) -> Option<Value> {
        let start = self.at;
        while matches!(
            self.peek(),
            Some(b'0'..=b'9' | b'-' | b'+' | b'.' | b'e' | b'E')
        ) {
            self.at += 1;
        }
        let text = std::str::from_utf8(&self.input[start..self.at]).ok()?;
        if !text.starts_with(|first: char| first == '-' || first.is_ascii_digit()) {
            return None;
        }
        text.parse().ok().map(Value::Number)
    }

    fn string(&mut self) -> Option<Vec<u8>> {
        self.take(b'"')?;
        let mut bytes = Vec::new();
        loop {
            let start = self.at;
            while !matches!(self.peek()?, b'"' | b'\\' | 0..=31) {
                self.at += 1;
            }
            let plain = &self.input[start..self.at];
            bytes.extend_from_slice(std::str::from_utf8(plain).ok()?.as_bytes());
            match self.peek()? {
                b'"' => {
                    self.at += 1;
                    return Some(bytes);
                }
                b'\\' => self.escape(&mut bytes)?,
                _ => return None, // a bare control character
            }
        }
    }

    fn escape(&mut self, bytes: &mut Vec<u8>) -> Option<()> {
        self.at += 1;
        let kind = self.peek()?;
        self.at += 1;
        bytes.push(match kind {
            b'"' | b'\\' | b'/' => kind,
            b'b' => 8,
            b'f' => 12,
            b'n' => b'\n',
            b'r' => b'\r',
            b't' => b'\t',
            b'u' => return self.unicode(bytes),
            _ => return None,
        });
        Some(())
    }

    fn unicode(&mut self, bytes: &mut Vec<u8>) -> Option<()> {
        let unit = self.hex4()?;
        let code = match unit {
            0xdc80..=0xdcff => {
                bytes.push((unit & 0xff) as u8);
                return Some(());
            }
            0xd800..=0xdbff => {
                self.take(b'\\')?;
                self.take(b'u')?;
                let low = self
                    .hex4()?
                    .checked_sub(0xdc00)
                    .filter(|low| *low < 0x400)?;
                0x10000 + ((unit - 0xd800) << 10) + low
            }
            _ => unit,
        };
        let mut buffer = [0; 4];
        bytes.extend_from_slice(char::from_u32(code)?.encode_utf8(&mut buffer).as_bytes());
        Some(())
    }

    fn hex4(&mut self) -> Option<u32> {
        let digits = self.input.get(self.at..self.at + 4)?;
        self.at += 4;
        digits.iter().try_fold(0, |sum, digit| {
            Some(sum * 16 + char::from(*digit).to_digit(16)?)
        })
    }
}

/// Write `bytes` as a JSON string.
pub fn write_text(out: &mut Vec<u8>, bytes: &[u8]) {
    out.push(b'"');
    let mut rest = bytes;
    loop {
        match std::str::from_utf8(rest) {
            Ok(valid) => {
                write_valid(out, valid.as_bytes());
                break;
            }
            Err(error) => {
                let (valid, bad) = rest.split_at(error.valid_up_to());
                write_valid(out, valid);
                let count = error.error_len().unwrap_or(bad.len());
                for byte in &bad[..count] {
                    out.extend_from_slice(format!("\\udc{byte:02x}").as_bytes());
                }
                rest = &bad[count..];
            }
        }
    }
    out.push(b'"');
}

fn write_valid(out: &mut Vec<u8>, valid: &[u8]) {
    for byte in valid {
        match byte {
            b'"' => out.extend_from_slice(b"\\\""),
            b'\\' => out.extend_from_slice(b"\\\\"),
            b'\n' => out.extend_from_slice(b"\\n"),
            0..=31 => out.extend_from_slice(format!("\\u{byte:04x}").as_bytes()),
            _ => out.push(*byte),
        }
    }
}

#[cfg(test)]
pub mod vectors {
    use super::{parse, write_text, Value};

    /// A recorded vector file; None, with a reason, outside a checkout.
    pub fn load(name: &str) -> Option<Value> {
        let path = format!(
            "{}/../../tests/data/vectors/{name}",
            env!("CARGO_MANIFEST_DIR")
        );
        match std::fs::read(&path) {
            Ok(text) => Some(parse(&text).expect("the vector file is JSON")),
            Err(error) => {
                eprintln!("skipped: {path}: {error}");
                None
            }
        }
    }

    pub fn items(value: &Value) -> &[Value] {
        match value {
            Value::List(items) => items,
            _ => panic!("not a list: {value:?}"),
        }
    }

    pub fn unhex(text: &[u8]) -> Vec<u8> {
        let digit = |byte: u8| char::from(byte).to_digit(16).expect("a hex digit") as u8;
        text.chunks(2)
            .map(|pair| digit(pair[0]) * 16 + digit(pair[1]))
            .collect()
    }

    #[test]
    fn texts_are_read_and_written_as_recorded() {
        let Some(all) = load("wire.json") else { return };
        for case in items(all.get("texts").unwrap()) {
            let bytes = unhex(case.get("hex").unwrap().text().unwrap());
            for json in case.get("json").unwrap().texts().unwrap() {
                assert_eq!(parse(&json), Some(Value::Text(bytes.clone())), "{case:?}");
            }
            let mut written = Vec::new();
            write_text(&mut written, &bytes);
            assert_eq!(parse(&written), Some(Value::Text(bytes)), "{case:?}");
        }
    }

    #[test]
    fn garbage_is_refused() {
        let Some(all) = load("wire.json") else { return };
        for line in all.get("garbage").unwrap().texts().unwrap() {
            assert!(
                crate::message::read(&line).is_none(),
                "{}",
                String::from_utf8_lossy(&line)
            );
        }
    }
}
