//! Signals: caught by handlers that write into a pipe, read in the loop.

use std::io;
use std::os::raw::{c_int, c_void};
use std::sync::atomic::{AtomicBool, AtomicI32, Ordering};

use super::c::*;
use super::descriptors::{private_pipe, read_some, set_nonblocking, Fd};

static PIPE_DISPOSITION: AtomicBool = AtomicBool::new(false);

/// Writing to a socket or a stderr that nobody reads must not end us.
pub fn ignore_sigpipe() {
    // SAFETY: SIG_IGN is a valid disposition.
    let was_ignored = unsafe { signal(SIGPIPE, SIG_IGN) } == SIG_IGN;
    PIPE_DISPOSITION.store(was_ignored, Ordering::Relaxed);
}

pub(super) fn restore_sigpipe() {
    if !PIPE_DISPOSITION.load(Ordering::Relaxed) {
        // SAFETY: SIG_DFL is a valid disposition.
        unsafe { signal(SIGPIPE, SIG_DFL) };
    }
}

pub(super) fn ignore_sigpipe_again() {
    // SAFETY: SIG_IGN is a valid disposition.
    unsafe { signal(SIGPIPE, SIG_IGN) };
}

static PIPE_WRITER: AtomicI32 = AtomicI32::new(-1);
static CHILD_EXISTS: AtomicBool = AtomicBool::new(false);
static GROUP_SENDER: AtomicI32 = AtomicI32::new(NOBODY);
const NOBODY: c_int = -1;

/// A signal that arrived; `to_group` means that the whole process group got it.
#[derive(Clone, Copy, Debug)]
pub struct Arrival {
    pub signal: c_int,
    pub to_group: bool,
}

/// Signals that are passed on to the child, as far as they were not ignored at our start.
const PASSED_ON: [c_int; 9] = [
    SIGINT, SIGQUIT, SIGTERM, SIGHUP, SIGUSR1, SIGUSR2, SIGWINCH, SIGTSTP, SIGCONT,
];

/// Signals, written into a pipe by their handlers and read in the loop.
pub struct Signals {
    reader: Fd,
    _writer: Fd,
}

impl Signals {
    /// Take over the signals; they are default again in what we start.
    pub fn catch() -> io::Result<Signals> {
        let (reader, writer) = private_pipe()?;
        set_nonblocking(reader.0);
        set_nonblocking(writer.0);
        PIPE_WRITER.store(writer.0, Ordering::Relaxed);
        for sig in PASSED_ON.into_iter().filter(|sig| !is_ignored(*sig)) {
            catch(sig);
        }
        catch(SIGCHLD); // were it ignored, the child's status would be lost
        Ok(Signals {
            reader,
            _writer: writer,
        })
    }

    /// Give the signals back: they end and stop us again, as they would any program.
    ///
    /// Returns those that had arrived and were not read.
    pub fn release(self) -> Vec<Arrival> {
        for sig in PASSED_ON.into_iter().filter(|sig| !is_ignored(*sig)) {
            // SAFETY: SIG_DFL is a valid disposition.
            unsafe { signal(sig, SIG_DFL) };
        }
        // SAFETY: as above.
        unsafe { signal(SIGCHLD, SIG_DFL) };
        self.arrived()
    }

    pub fn fd(&self) -> c_int {
        self.reader.0
    }

    /// From now on a signal of the kernel's reaches the child as well.
    pub fn child_exists(&self, exists: bool) {
        CHILD_EXISTS.store(exists, Ordering::Relaxed);
    }

    /// If we lead a group, whoever made us its leader signals the group, as the kernel does.
    pub fn parent_signals_group(&self) {
        // SAFETY: plain system calls.
        let (leads, parent) = unsafe { (getpgrp() == getpid(), getppid()) };
        GROUP_SENDER.store(if leads { parent } else { NOBODY }, Ordering::Relaxed);
    }

    pub fn arrived(&self) -> Vec<Arrival> {
        let mut found = Vec::new();
        let mut buffer = [0u8; 64];
        while let Ok(count) = read_some(self.reader.0, &mut buffer) {
            for pair in buffer[..count].chunks_exact(2) {
                found.push(Arrival {
                    signal: c_int::from(pair[0]),
                    to_group: pair[1] == 1,
                });
            }
            if count < buffer.len() {
                break;
            }
        }
        found
    }

    /// Stop, as the terminal's suspend key would stop us; returns when continued.
    pub fn stop_self(&self) {
        // SAFETY: plain system calls.
        unsafe {
            signal(SIGTSTP, SIG_DFL);
            kill(getpid(), SIGTSTP);
        }
        catch(SIGTSTP);
    }
}

fn is_ignored(sig: c_int) -> bool {
    // SAFETY: all-zero is a valid sigaction; a null pointer only asks.
    unsafe {
        let mut now: SigAction = std::mem::zeroed();
        sigaction(sig, std::ptr::null(), &mut now);
        now.handler == SIG_IGN
    }
}

fn catch(sig: c_int) {
    // SAFETY: the handler only makes calls that are allowed in one.
    unsafe {
        let mut action: SigAction = std::mem::zeroed();
        action.handler = on_signal as *const () as usize;
        action.flags = SA_SIGINFO | SA_RESTART | SA_NOCLDSTOP;
        sigaction(sig, &action, std::ptr::null_mut());
    }
}

extern "C" fn on_signal(sig: c_int, info: *const SigInfo, _context: *mut c_void) {
    // SAFETY: the kernel hands over a whole siginfo_t; errno is put back.
    unsafe {
        let errno = errno_place();
        let saved = *errno;
        let sender = (*info).pid; // of a signal that a process has sent
        let to_group = came_from_kernel(&*info) || sender == GROUP_SENDER.load(Ordering::Relaxed);
        let reached_child = to_group && CHILD_EXISTS.load(Ordering::Relaxed);
        let pair = [sig as u8, u8::from(reached_child)];
        write(PIPE_WRITER.load(Ordering::Relaxed), pair.as_ptr().cast(), 2);
        *errno = saved;
    }
}

#[cfg(target_os = "linux")]
unsafe fn errno_place() -> *mut c_int {
    __errno_location()
}
#[cfg(not(target_os = "linux"))]
unsafe fn errno_place() -> *mut c_int {
    __error()
}

#[cfg(target_os = "linux")]
fn came_from_kernel(info: &SigInfo) -> bool {
    const SI_KERNEL: c_int = 0x80;
    info.code == SI_KERNEL
}
#[cfg(not(target_os = "linux"))]
fn came_from_kernel(info: &SigInfo) -> bool {
    info.pid == 0
}
