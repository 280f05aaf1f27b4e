//! The connection to the daemon. Nothing here blocks for longer than it says.

use std::fmt;
use std::path::Path;
use std::time::{Duration, Instant};

use crate::json::Value;
use crate::message;
use crate::sys::{self, Fd, PollFd};
use std::os::unix::ffi::OsStrExt;

pub const PATIENCE: Duration = Duration::from_secs(2);

/// Why there is no daemon to talk to.
#[derive(Debug)]
pub enum Failure {
    NobodyListens,
    Unreachable(std::io::Error),
    Stranger,
    Silent,
    HungUp,
    Garbage,
    Unfollowable,
    Refused(Vec<u8>),
    TooLong,
}

impl fmt::Display for Failure {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Failure::NobodyListens => write!(out, "no daemon answers"),
            Failure::Unreachable(error) => write!(out, "the daemon is out of reach: {error}"),
            Failure::Stranger => write!(out, "another user listens on the daemon's socket"),
            Failure::Silent => write!(out, "the daemon does not answer"),
            Failure::HungUp => write!(out, "the daemon hung up"),
            Failure::Garbage => write!(out, "the daemon's answer makes no sense"),
            Failure::Unfollowable => {
                write!(out, "the daemon's answer is no `go` that can be followed")
            }
            Failure::Refused(why) => {
                write!(
                    out,
                    "the daemon refuses: {}",
                    crate::waitline::printable(why)
                )
            }
            Failure::TooLong => write!(out, "the command line is too long for the daemon"),
        }
    }
}

/// What one look at the connection gave.
#[derive(Debug)]
pub enum Look {
    Line(Vec<u8>),
    Nothing,
    Gone,
}

#[derive(Debug)]
pub struct Peer {
    fd: Fd,
    unread: Vec<u8>,
}

impl Peer {
    /// Connect, for at most `patience`, to a daemon of our own user.
    pub fn connect(socket: &Path, patience: Duration) -> Result<Peer, Failure> {
        let deadline = Instant::now() + patience;
        loop {
            match sys::connect_unix(socket.as_os_str().as_bytes()) {
                Ok(fd) => return Peer::trusted(fd),
                Err(error) => match error.raw_os_error() {
                    // Its queue is full; there is nothing to poll for.
                    Some(sys::EAGAIN | sys::EINPROGRESS | sys::EINTR) => {}
                    _ => return Err(not_connected(error)),
                },
            }
            if Instant::now() >= deadline {
                return Err(Failure::Silent);
            }
            std::thread::sleep(Duration::from_millis(5));
        }
    }

    fn trusted(fd: Fd) -> Result<Peer, Failure> {
        if sys::peer_uid(fd.0) != Some(sys::effective_uid()) {
            return Err(Failure::Stranger);
        }
        Ok(Peer {
            fd,
            unread: Vec::new(),
        })
    }

    pub fn fd(&self) -> i32 {
        self.fd.0
    }

    pub fn send(&self, line: &[u8], patience: Duration) -> Result<(), Failure> {
        let deadline = Instant::now() + patience;
        let mut rest = line;
        while !rest.is_empty() {
            match sys::write_some(self.fd.0, rest) {
                Ok(count) => rest = &rest[count..],
                Err(error) if error.raw_os_error() == Some(sys::EINTR) => {}
                Err(error) if error.raw_os_error() == Some(sys::EAGAIN) => {
                    self.ready(sys::POLLOUT, deadline)?;
                }
                Err(_) => return Err(Failure::HungUp),
            }
        }
        Ok(())
    }

    fn ready(&self, events: i16, deadline: Instant) -> Result<(), Failure> {
        let mut fds = [PollFd {
            fd: self.fd.0,
            events,
            revents: 0,
        }];
        if sys::wait_ready(&mut fds, Some(deadline)) == 0 && Instant::now() >= deadline {
            return Err(Failure::Silent);
        }
        Ok(())
    }

    /// The next whole line that is there already, without waiting.
    pub fn look(&mut self) -> Look {
        let mut buffer = [0; 16384];
        loop {
            if let Some(line) = self.buffered() {
                return Look::Line(line);
            }
            if self.unread.len() > message::MAX_LINE_BYTES {
                return Look::Gone;
            }
            match sys::read_some(self.fd.0, &mut buffer) {
                Ok(0) => return Look::Gone,
                Ok(count) => self.unread.extend_from_slice(&buffer[..count]),
                Err(error) => match error.raw_os_error() {
                    Some(sys::EAGAIN) => return Look::Nothing,
                    Some(sys::EINTR) => {}
                    _ => return Look::Gone,
                },
            }
        }
    }

    fn buffered(&mut self) -> Option<Vec<u8>> {
        let end = self.unread.iter().position(|byte| *byte == b'\n')?;
        let rest = self.unread.split_off(end + 1);
        Some(std::mem::replace(&mut self.unread, rest))
    }

    /// The next line, waited for until `deadline`.
    pub fn next(&mut self, deadline: Instant) -> Result<(Vec<u8>, Value), Failure> {
        loop {
            match self.look() {
                Look::Line(line) => return message::read(&line).ok_or(Failure::Garbage),
                Look::Gone => return Err(Failure::HungUp),
                Look::Nothing => self.ready(sys::POLLIN, deadline)?,
            }
        }
    }
}

fn not_connected(error: std::io::Error) -> Failure {
    use std::io::ErrorKind::{ConnectionRefused, NotFound};
    match error.kind() {
        NotFound | ConnectionRefused => Failure::NobodyListens,
        _ => Failure::Unreachable(error),
    }
}

pub fn refusal(value: &Value) -> Failure {
    let why = value
        .get("message")
        .and_then(Value::text)
        .unwrap_or(b"no reason given");
    Failure::Refused(why.to_vec())
}
