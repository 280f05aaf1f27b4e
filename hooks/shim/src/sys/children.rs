//! The end of children, and ending like one.

use std::os::raw::c_int;

use super::c::*;
use super::{exit, last_errno};

/// What a child used: seconds, and the largest resident set of it or a child it waited for.
#[derive(Clone, Copy, Debug, Default)]
pub struct Usage {
    pub user_s: f64,
    pub system_s: f64,
    pub peak_kib: i64,
}

/// How a process ended, as wait(2) tells it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Status(pub c_int);

impl Status {
    pub fn signal(self) -> Option<c_int> {
        (self.0 & 0x7f != 0).then_some(self.0 & 0x7f)
    }

    pub fn code(self) -> c_int {
        (self.0 >> 8) & 0xff
    }
}

/// Reap the child; None when it still runs (only without `blocking`).
pub fn wait(child: c_int, blocking: bool) -> Option<(Status, Usage)> {
    let mut status = 0;
    let mut raw = RawUsage::default();
    let options = if blocking { 0 } else { WNOHANG };
    loop {
        // SAFETY: both are writable and of the right layout.
        let got = unsafe { wait4(child, &mut status, options, &mut raw) };
        if got == child {
            return Some((Status(status), usage(&raw)));
        }
        if got == 0 {
            return None;
        }
        if last_errno() != EINTR {
            return Some((Status(1 << 8), Usage::default())); // somebody reaped it: status unknown
        }
    }
}

fn usage(raw: &RawUsage) -> Usage {
    let seconds = |time: Timeval| time.sec as f64 + time.usec as f64 / 1e6;
    Usage {
        user_s: seconds(raw.user),
        system_s: seconds(raw.system),
        peak_kib: raw.maxrss / MAXRSS_PER_KIB,
    }
}

/// End as the child ended: the same exit code, or by the same signal, without a second core file.
pub fn end_like(status: Status) -> ! {
    let Some(sig) = status.signal() else {
        exit(status.code())
    };
    // SAFETY: plain system calls; the last one does not return in the usual case.
    unsafe {
        setrlimit(RLIMIT_CORE, &[0, 0]);
        signal(sig, SIG_DFL);
        unblock_all();
        kill(getpid(), sig);
    }
    exit(128 + sig)
}

pub(super) fn unblock_all() {
    let none = [0u64; 16];
    // SAFETY: an all-zero sigset_t is the empty set on both systems.
    unsafe { sigprocmask(SIG_UNBLOCK_ALL, none.as_ptr(), std::ptr::null_mut()) };
}
