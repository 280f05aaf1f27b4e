//! A child that we stand before: it is waited for, signals are passed on to it, and meanwhile the
//! connection to the daemon is served.

use std::cell::Cell;
use std::ffi::{OsStr, OsString};
use std::io;
use std::time::{Duration, Instant};

use crate::sys::{self, Env, PollFd, Signals, Status, Usage};

/// Signals by which people end programs.
pub const FATAL: [i32; 4] = [sys::SIGINT, sys::SIGQUIT, sys::SIGTERM, sys::SIGHUP];

/// How a child ended and what it took.
#[derive(Clone, Copy, Debug)]
pub struct Ended {
    pub status: Status,
    pub usage: Usage,
    pub wall_s: f64,
}

pub struct Child {
    pub pid: i32,
    own_group: bool,
    started: Instant,
    is_over: Cell<bool>,
    /// The last signal passed on that was to end it.
    fatal: Cell<Option<i32>>,
}

/// Who has something to do while the child runs.
pub trait Attendant {
    /// A descriptor to watch.
    fn fd(&self) -> Option<i32>;
    /// When to be called at the latest.
    fn due_at(&self) -> Option<Instant>;
    /// Something can be read, or the time has come.
    fn attend(&mut self, child: &Child);
}

/// A child that was asked to end, and is killed when it does not.
pub struct Ending {
    kill_at: Instant,
    grace: Duration,
}

impl Ending {
    /// Ask, even a child that is stopped.
    pub fn of(child: &Child, grace: Duration) -> Ending {
        child.signal(sys::SIGTERM);
        child.signal(sys::SIGCONT);
        Ending {
            kill_at: Instant::now() + grace,
            grace,
        }
    }

    pub fn due_at(&self) -> Instant {
        self.kill_at
    }

    /// Kill it if its time is over, and again if that was not enough.
    pub fn attend(&mut self, child: &Child) {
        if Instant::now() >= self.kill_at {
            child.signal(sys::SIGKILL);
            self.kill_at = Instant::now() + self.grace;
        }
    }
}

impl Child {
    pub fn start(
        signals: &Signals,
        program: &OsStr,
        args: &[OsString],
        env: &Env,
        own_group: bool,
    ) -> io::Result<Child> {
        signals.child_exists(false);
        let pid = sys::spawn(program, args, env, own_group)?;
        signals.child_exists(true);
        Ok(Child {
            pid,
            own_group,
            started: Instant::now(),
            is_over: Cell::new(false),
            fatal: Cell::new(None),
        })
    }

    /// Signal the child, or the whole group that it leads. When it is over, its pid is another's.
    pub fn signal(&self, sig: i32) {
        if self.own_group {
            sys::send_signal(-self.pid, sig);
        } else if !self.is_over.get() {
            sys::send_signal(self.pid, sig);
        }
    }

    /// The signal that was to end it and us, if there was one; not counting what we sent ourselves.
    pub fn fatal_signal(&self) -> Option<i32> {
        self.fatal.get()
    }

    /// Wait for the end of the child.
    pub fn attend(&self, signals: &Signals, attendant: &mut dyn Attendant) -> Ended {
        loop {
            if let Some((status, usage)) = sys::wait(self.pid, false) {
                self.is_over.set(true);
                return Ended {
                    status,
                    usage,
                    wall_s: self.started.elapsed().as_secs_f64(),
                };
            }
            let mut fds = [
                PollFd {
                    fd: signals.fd(),
                    events: sys::POLLIN,
                    revents: 0,
                },
                PollFd {
                    fd: attendant.fd().unwrap_or(-1),
                    events: sys::POLLIN,
                    revents: 0,
                },
            ];
            let due_at = attendant.due_at();
            sys::wait_ready(&mut fds, due_at);
            for arrival in signals.arrived() {
                self.pass_on(signals, arrival);
            }
            if fds[1].revents != 0 || due_at.is_some_and(|at| Instant::now() >= at) {
                attendant.attend(self);
            }
        }
    }

    /// Give the child what it did not get itself: the kernel signals whole process groups.
    fn pass_on(&self, signals: &Signals, arrival: sys::Arrival) {
        let missed = self.own_group || !arrival.to_group;
        if arrival.signal == sys::SIGCHLD {
            return;
        }
        if FATAL.contains(&arrival.signal) {
            self.fatal.set(Some(arrival.signal));
        }
        if missed {
            self.signal(arrival.signal);
        }
        if arrival.signal == sys::SIGTSTP {
            signals.stop_self();
        }
    }
}
