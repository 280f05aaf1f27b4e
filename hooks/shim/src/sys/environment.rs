//! The environment, byte for byte.

use std::ffi::{CString, OsString};

use super::c::environ;

/// The environment of what we start: ours, byte for byte, with a few changes.
#[derive(Clone)]
pub struct Env {
    pub(super) entries: Vec<CString>,
}

impl Env {
    pub fn current() -> Env {
        let mut entries = Vec::with_capacity(128);
        // SAFETY: `environ` is an array of strings that ends with a null pointer; one thread.
        unsafe {
            let mut at = environ;
            while !at.is_null() && !(*at).is_null() {
                entries.push(std::ffi::CStr::from_ptr(*at).to_owned());
                at = at.add(1);
            }
        }
        Env { entries }
    }

    pub fn unset(&mut self, name: &[u8]) {
        self.entries
            .retain(|entry| !is_named(entry.as_bytes(), name));
    }

    /// Names and values with a NUL cannot be passed on and are left out.
    pub fn set(&mut self, name: &[u8], value: &[u8]) {
        let mut text = Vec::with_capacity(name.len() + value.len() + 1);
        text.extend_from_slice(name);
        text.push(b'=');
        text.extend_from_slice(value);
        let Ok(entry) = CString::new(text) else {
            return;
        };
        match self
            .entries
            .iter_mut()
            .find(|entry| is_named(entry.as_bytes(), name))
        {
            Some(place) => *place = entry,
            None => self.entries.push(entry),
        }
    }
}

fn is_named(entry: &[u8], name: &[u8]) -> bool {
    entry.len() > name.len() && entry[name.len()] == b'=' && entry.starts_with(name)
}

/// Whether a switch like FORGE_QUIET is on: set to anything but nothing and `0`.
pub fn is_on(name: &str) -> bool {
    var(name).is_some_and(|value| value != "0")
}

/// A variable of our own environment; None when unset or empty.
pub fn var(name: &str) -> Option<OsString> {
    std::env::var_os(name).filter(|value| !value.is_empty())
}
