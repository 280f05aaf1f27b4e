//! Messages: one JSON object a line. Source: docs/protocol.md.

use std::ffi::OsString;
use std::os::unix::ffi::OsStrExt;

use crate::child::Ended;
use crate::json::{self, Value};

pub const MAX_LINE_BYTES: usize = 1024 * 1024;

/// A message being written.
#[derive(Clone)]
pub struct Message {
    out: Vec<u8>,
}

impl Message {
    pub fn new(kind: &str) -> Message {
        let mut out = Vec::with_capacity(1024);
        out.extend_from_slice(b"{\"type\":");
        json::write_text(&mut out, kind.as_bytes());
        Message { out }
    }

    /// The first message on a connection.
    pub fn first(kind: &str) -> Message {
        Message::new(kind).integer("v", 1)
    }

    fn name(&mut self, name: &str) {
        self.out.push(b',');
        json::write_text(&mut self.out, name.as_bytes());
        self.out.push(b':');
    }

    fn plain(mut self, name: &str, text: &str) -> Message {
        self.name(name);
        self.out.extend_from_slice(text.as_bytes());
        self
    }

    pub fn text(mut self, name: &str, bytes: &[u8]) -> Message {
        self.name(name);
        json::write_text(&mut self.out, bytes);
        self
    }

    pub fn text_or_null(self, name: &str, bytes: Option<&[u8]>) -> Message {
        match bytes {
            Some(bytes) => self.text(name, bytes),
            None => self.plain(name, "null"),
        }
    }

    pub fn flag_or_null(self, name: &str, flag: Option<bool>) -> Message {
        self.plain(
            name,
            flag.map_or("null", |flag| if flag { "true" } else { "false" }),
        )
    }

    pub fn integer(self, name: &str, number: i64) -> Message {
        self.plain(name, &number.to_string())
    }

    pub fn seconds(self, name: &str, number: f64) -> Message {
        self.plain(name, &format!("{number:.6}"))
    }

    pub fn integer_or_null(self, name: &str, number: Option<i64>) -> Message {
        match number {
            Some(number) => self.integer(name, number),
            None => self.plain(name, "null"),
        }
    }

    pub fn flag(self, name: &str, value: bool) -> Message {
        self.plain(name, if value { "true" } else { "false" })
    }

    pub fn texts<'a>(mut self, name: &str, texts: impl Iterator<Item = &'a [u8]>) -> Message {
        self.name(name);
        self.out.push(b'[');
        for (index, text) in texts.enumerate() {
            if index > 0 {
                self.out.push(b',');
            }
            json::write_text(&mut self.out, text);
        }
        self.out.push(b']');
        self
    }

    pub fn words(self, name: &str, words: &[OsString]) -> Message {
        self.texts(name, words.iter().map(|word| word.as_bytes()))
    }

    pub fn table(mut self, name: &str, rows: &[(OsString, OsString)]) -> Message {
        self.name(name);
        self.out.push(b'{');
        for (index, (key, value)) in rows.iter().enumerate() {
            if index > 0 {
                self.out.push(b',');
            }
            json::write_text(&mut self.out, key.as_bytes());
            self.out.push(b':');
            json::write_text(&mut self.out, value.as_bytes());
        }
        self.out.push(b'}');
        self
    }

    /// How a child ended: `exit` or `signal`.
    pub fn outcome(self, ended: &Ended) -> Message {
        match ended.status.signal() {
            Some(signal) => self.integer("signal", i64::from(signal)),
            None => self.integer("exit", i64::from(ended.status.code())),
        }
    }

    /// What a child used.
    pub fn usage(self, ended: &Ended) -> Message {
        self.seconds("wall_s", ended.wall_s)
            .seconds("user_s", ended.usage.user_s)
            .seconds("system_s", ended.usage.system_s)
            .integer("peak_kib", ended.usage.peak_kib)
    }

    /// The finished line; None when it is over the limit.
    pub fn line(mut self) -> Option<Vec<u8>> {
        self.out.extend_from_slice(b"}\n");
        (self.out.len() <= MAX_LINE_BYTES).then_some(self.out)
    }
}

/// Read a line as a message, with its type; None when it is none.
pub fn read(line: &[u8]) -> Option<(Vec<u8>, Value)> {
    let value = json::parse(line)?;
    let kind = value.get("type")?.text()?.to_vec();
    Some((kind, value))
}
