//! What the standard library does not offer: exec and spawn with signals left alone, process
//! groups, wait4, sockets that never block.

mod c;
mod children;
mod descriptors;
mod disks;
mod environment;
mod programs;
mod signals;
mod sockets;

pub use c::{
    PollFd, EAGAIN, EINPROGRESS, EINTR, ENOENT, POLLIN, POLLOUT, SIGCHLD, SIGCONT, SIGHUP, SIGINT,
    SIGKILL, SIGQUIT, SIGSTOP, SIGTERM, SIGTSTP, SIGWINCH,
};
pub use children::{end_like, wait, Status, Usage};
pub use descriptors::{open_inheritable, read_some, try_lock, wait_ready, write_some, Fd};
pub use disks::{space, Space};
pub use environment::{is_on, var, Env};
pub use programs::{exec, spawn, spawn_detached};
pub use signals::{Arrival, Signals};
pub use sockets::{connect_unix, peer_uid};

use std::ffi::{CString, OsString};
use std::io;
use std::os::raw::c_int;
use std::os::unix::ffi::OsStringExt;

/// What Rust's own run-time set-up would have done, in our way; comes first.
pub fn prepare() {
    descriptors::secure_standard_streams();
    signals::ignore_sigpipe();
}

pub fn exit(code: c_int) -> ! {
    // SAFETY: ends the process; nothing of ours is buffered.
    unsafe { c::_exit(code) }
}

pub fn pid() -> c_int {
    // SAFETY: no arguments, cannot fail.
    unsafe { c::getpid() }
}

pub fn parent_pid() -> c_int {
    // SAFETY: as above.
    unsafe { c::getppid() }
}

pub fn effective_uid() -> u32 {
    // SAFETY: as above.
    unsafe { c::geteuid() }
}

/// Step back behind others, by a nice that is never lowered: one of the user's that is higher stays.
pub fn step_back(nice: c_int) {
    const PRIO_PROCESS: c_int = 0;
    // SAFETY: takes any numbers; 0 is ourselves. A nice of -1 looks like an error, and is below.
    unsafe {
        if c::getpriority(PRIO_PROCESS, 0) < nice {
            c::setpriority(PRIO_PROCESS, 0, nice);
        }
    }
}

pub fn is_terminal(fd: c_int) -> bool {
    // SAFETY: takes any number.
    unsafe { c::isatty(fd) == 1 }
}

/// Width of the terminal on `fd`, if it is one and knows.
pub fn columns(fd: c_int) -> Option<usize> {
    let mut size = [0u16; 4];
    // SAFETY: `size` has the layout of struct winsize: rows, columns and two more.
    let known = unsafe { c::ioctl(fd, c::TIOCGWINSZ, size.as_mut_ptr()) } == 0;
    (known && size[1] > 0).then_some(size[1] as usize)
}

pub fn send_signal(pid: c_int, sig: c_int) {
    // SAFETY: takes any numbers. A process that is gone already is no error here.
    unsafe { c::kill(pid, sig) };
}

pub fn is_alive(pid: c_int) -> bool {
    // SAFETY: signal 0 only asks.
    unsafe { c::kill(pid, 0) == 0 }
}

pub fn is_executable(path: &[u8]) -> bool {
    let Ok(path) = CString::new(path) else {
        return false;
    };
    // SAFETY: `path` is a string that ends with NUL.
    unsafe { c::access(path.as_ptr(), 1) == 0 }
}

pub fn last_errno() -> i32 {
    io::Error::last_os_error().raw_os_error().unwrap_or(0)
}

pub fn os_string(bytes: &[u8]) -> OsString {
    OsString::from_vec(bytes.to_vec())
}
