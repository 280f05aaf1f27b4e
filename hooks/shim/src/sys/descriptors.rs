//! Descriptors: standard streams, pipes, locks, waiting.

use std::ffi::CString;
use std::io;
use std::os::raw::c_int;
use std::time::Instant;

use super::c::*;

/// Occupy standard streams that the caller closed, so that no socket of ours becomes one.
///
/// They are close-on-exec: what we start finds them closed, as we did.
pub fn secure_standard_streams() {
    for fd in 0..3 {
        // SAFETY: open(2) gives the lowest free number, which is `fd`.
        unsafe {
            if fcntl(fd, F_GETFD) == -1 {
                open(b"/dev/null\0".as_ptr().cast(), O_RDWR | O_CLOEXEC);
            }
        }
    }
}

/// A descriptor that is closed when dropped.
#[derive(Debug)]
pub struct Fd(pub c_int);

impl Drop for Fd {
    fn drop(&mut self) {
        // SAFETY: the descriptor is ours alone.
        unsafe { close(self.0) };
    }
}

pub(super) fn checked(result: c_int) -> io::Result<c_int> {
    if result < 0 {
        Err(io::Error::last_os_error())
    } else {
        Ok(result)
    }
}

pub(super) fn set_cloexec(fd: c_int) {
    // SAFETY: plain fcntl on a descriptor of ours.
    unsafe { fcntl(fd, F_SETFD, FD_CLOEXEC) };
}

pub(super) fn set_nonblocking(fd: c_int) {
    // SAFETY: plain fcntl on a descriptor of ours.
    unsafe {
        let flags = fcntl(fd, F_GETFL);
        fcntl(fd, F_SETFL, flags | O_NONBLOCK);
    }
}

/// A pipe, both ends close-on-exec: (read, write).
pub(super) fn private_pipe() -> io::Result<(Fd, Fd)> {
    let mut fds = [0; 2];
    // SAFETY: `fds` has room for two.
    checked(unsafe { pipe(fds.as_mut_ptr()) })?;
    set_cloexec(fds[0]);
    set_cloexec(fds[1]);
    Ok((Fd(fds[0]), Fd(fds[1])))
}

/// Open `path` read-write; what we start inherits the descriptor.
pub fn open_inheritable(path: &[u8]) -> io::Result<Fd> {
    let path = CString::new(path)?;
    // SAFETY: `path` ends with NUL.
    checked(unsafe { open(path.as_ptr(), O_RDWR) }).map(Fd)
}

/// Try to lock the open file; false when somebody else holds it.
pub fn try_lock(fd: c_int) -> bool {
    // SAFETY: takes any numbers.
    unsafe { flock(fd, LOCK_EX_NB) == 0 }
}

pub fn read_some(fd: c_int, buffer: &mut [u8]) -> io::Result<usize> {
    // SAFETY: `buffer` is writable for its length.
    let count = unsafe { read(fd, buffer.as_mut_ptr().cast(), buffer.len()) };
    if count < 0 {
        Err(io::Error::last_os_error())
    } else {
        Ok(count as usize)
    }
}

pub fn write_some(fd: c_int, bytes: &[u8]) -> io::Result<usize> {
    // SAFETY: `bytes` is readable for its length.
    let count = unsafe { write(fd, bytes.as_ptr().cast(), bytes.len()) };
    if count < 0 {
        Err(io::Error::last_os_error())
    } else {
        Ok(count as usize)
    }
}

/// Wait until one of `fds` is ready or `deadline` passes; None waits for ever.
pub fn wait_ready(fds: &mut [PollFd], deadline: Option<Instant>) -> usize {
    let timeout_ms = deadline.map_or(-1, |at| {
        let left = at.saturating_duration_since(Instant::now());
        // Rounded up: waking too early would spin.
        c_int::try_from((left.as_micros() + 999) / 1000).unwrap_or(c_int::MAX)
    });
    // SAFETY: `fds` is writable for its length.
    let ready = unsafe { poll(fds.as_mut_ptr(), fds.len() as PollCount, timeout_ms) };
    if ready < 0 {
        fds.iter_mut().for_each(|fd| fd.revents = 0);
        return 0;
    }
    ready as usize
}
