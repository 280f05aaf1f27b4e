//! The C library, as far as we call it: constants, layouts, functions.
//!
//! Layouts are those of Linux (glibc and musl, 64 bit) and macOS; other systems take the BSD side.

use std::os::raw::{c_char, c_int, c_long, c_ulong, c_void};

pub const SIGHUP: c_int = 1;
pub const SIGINT: c_int = 2;
pub const SIGQUIT: c_int = 3;
pub const SIGKILL: c_int = 9;
pub const SIGPIPE: c_int = 13;
pub const SIGTERM: c_int = 15;
pub const SIGWINCH: c_int = 28;
#[cfg(target_os = "linux")]
mod os {
    use super::c_int;
    pub const SIGUSR1: c_int = 10;
    pub const SIGUSR2: c_int = 12;
    pub const SIGCHLD: c_int = 17;
    pub const SIGCONT: c_int = 18;
    pub const SIGTSTP: c_int = 20;
    pub const SIGSTOP: c_int = 19;
    pub const SA_SIGINFO: c_int = 4;
    pub const SA_RESTART: c_int = 0x1000_0000;
    pub const SA_NOCLDSTOP: c_int = 1;
    pub const SIG_UNBLOCK_ALL: c_int = 2; // SIG_SETMASK
    pub const O_NONBLOCK: c_int = 0o4000;
    pub const O_CLOEXEC: c_int = 0o2_000_000;
    pub const TIOCGWINSZ: super::c_ulong = 0x5413;
    pub const SOL_SOCKET: c_int = 1;
    pub const SO_PEERCRED: c_int = 17;
    pub const EAGAIN: i32 = 11;
    pub const EINPROGRESS: i32 = 115;
    pub const MAXRSS_PER_KIB: i64 = 1;
}
#[cfg(not(target_os = "linux"))]
mod os {
    use super::c_int;
    pub const SIGUSR1: c_int = 30;
    pub const SIGUSR2: c_int = 31;
    pub const SIGCHLD: c_int = 20;
    pub const SIGCONT: c_int = 19;
    pub const SIGTSTP: c_int = 18;
    pub const SIGSTOP: c_int = 17;
    pub const SA_SIGINFO: c_int = 0x40;
    pub const SA_RESTART: c_int = 2;
    pub const SA_NOCLDSTOP: c_int = 8;
    pub const SIG_UNBLOCK_ALL: c_int = 3; // SIG_SETMASK
    pub const O_NONBLOCK: c_int = 4;
    pub const O_CLOEXEC: c_int = 0x0100_0000;
    pub const TIOCGWINSZ: super::c_ulong = 0x4008_7468;
    pub const EAGAIN: i32 = 35;
    pub const EINPROGRESS: i32 = 36;
    pub const MAXRSS_PER_KIB: i64 = 1024; // macOS counts bytes
}
pub use os::*;

pub const O_RDWR: c_int = 2;
pub const POLLIN: i16 = 1;
pub const POLLOUT: i16 = 4;
pub const LOCK_EX_NB: c_int = 2 | 4;
pub const ENOENT: i32 = 2;
pub const EINTR: i32 = 4;

pub const SIG_DFL: usize = 0;
pub const SIG_IGN: usize = 1;
pub const F_GETFD: c_int = 1;
pub const F_SETFD: c_int = 2;
pub const F_GETFL: c_int = 3;
pub const F_SETFL: c_int = 4;
pub const FD_CLOEXEC: c_int = 1;
pub const WNOHANG: c_int = 1;
pub const RLIMIT_CORE: c_int = 4;
pub const AF_UNIX: c_int = 1;
pub const SOCK_STREAM: c_int = 1;

#[repr(C)]
#[derive(Clone, Copy)]
pub struct PollFd {
    pub fd: c_int,
    pub events: i16,
    pub revents: i16,
}

#[cfg(target_os = "linux")]
#[repr(C)]
#[derive(Clone, Copy, Default)]
pub struct Timeval {
    pub sec: c_long,
    pub usec: c_long,
}
#[cfg(not(target_os = "linux"))]
#[repr(C)]
#[derive(Clone, Copy, Default)]
pub struct Timeval {
    pub sec: c_long,
    pub usec: i32,
}

#[repr(C)]
#[derive(Clone, Copy, Default)]
pub struct RawUsage {
    pub user: Timeval,
    pub system: Timeval,
    pub maxrss: c_long,
    pub rest: [c_long; 13],
}

#[cfg(target_os = "linux")]
#[repr(C)]
pub struct SigAction {
    pub handler: usize,
    pub mask: [u64; 16],
    pub flags: c_int,
    pub restorer: usize,
}
#[cfg(not(target_os = "linux"))]
#[repr(C)]
pub struct SigAction {
    pub handler: usize,
    pub mask: u32,
    pub flags: c_int,
}

/// The head of siginfo_t, as far as both systems agree on where its fields begin.
#[repr(C)]
pub struct SigInfo {
    pub _signo: c_int,
    pub _errno: c_int,
    pub code: c_int,
    #[cfg(all(target_os = "linux", target_pointer_width = "64"))]
    pub _padding: c_int,
    pub pid: c_int,
}

#[cfg(target_os = "linux")]
#[repr(C)]
pub struct SockAddr {
    pub family: u16,
    pub path: [u8; 108],
}
#[cfg(not(target_os = "linux"))]
#[repr(C)]
pub struct SockAddr {
    pub len: u8,
    pub family: u8,
    pub path: [u8; 104],
}

/// struct statvfs up to what we read, and room for the rest of it.
#[repr(C)]
#[derive(Default)]
pub struct Statvfs {
    pub block_size: c_ulong,
    pub fragment_size: c_ulong,
    pub blocks: BlockCount,
    pub free: BlockCount,
    pub available: BlockCount,
    rest: [u64; 16],
}

#[cfg(target_os = "linux")]
pub type BlockCount = c_ulong;
#[cfg(not(target_os = "linux"))]
pub type BlockCount = u32;

extern "C" {
    pub static environ: *const *const c_char;
    pub fn signal(sig: c_int, handler: usize) -> usize;
    pub fn sigaction(sig: c_int, new: *const SigAction, old: *mut SigAction) -> c_int;
    pub fn sigprocmask(how: c_int, set: *const u64, old: *mut u64) -> c_int;
    pub fn kill(pid: c_int, sig: c_int) -> c_int;
    pub fn getpid() -> c_int;
    pub fn getpgrp() -> c_int;
    pub fn getppid() -> c_int;
    pub fn geteuid() -> u32;
    pub fn setsid() -> c_int;
    pub fn getpriority(which: c_int, who: u32) -> c_int;
    pub fn setpriority(which: c_int, who: u32, nice: c_int) -> c_int;
    pub fn wait4(pid: c_int, status: *mut c_int, options: c_int, usage: *mut RawUsage) -> c_int;
    pub fn setrlimit(which: c_int, limit: *const [u64; 2]) -> c_int;
    pub fn execve(
        path: *const c_char,
        argv: *const *const c_char,
        env: *const *const c_char,
    ) -> c_int;
    pub fn _exit(code: c_int) -> !;
    pub fn poll(fds: *mut PollFd, count: PollCount, timeout_ms: c_int) -> c_int;
    pub fn pipe(fds: *mut c_int) -> c_int;
    pub fn read(fd: c_int, buffer: *mut c_void, count: usize) -> isize;
    pub fn write(fd: c_int, buffer: *const c_void, count: usize) -> isize;
    pub fn close(fd: c_int) -> c_int;
    pub fn fcntl(fd: c_int, command: c_int, ...) -> c_int;
    pub fn ioctl(fd: c_int, request: c_ulong, ...) -> c_int;
    pub fn open(path: *const c_char, flags: c_int, ...) -> c_int;
    pub fn fork() -> c_int;
    pub fn dup2(from: c_int, to: c_int) -> c_int;
    pub fn chdir(path: *const c_char) -> c_int;
    pub fn statvfs(path: *const c_char, into: *mut Statvfs) -> c_int;
    pub fn access(path: *const c_char, mode: c_int) -> c_int;
    pub fn flock(fd: c_int, operation: c_int) -> c_int;
    pub fn isatty(fd: c_int) -> c_int;
    pub fn socket(domain: c_int, kind: c_int, protocol: c_int) -> c_int;
    pub fn connect(fd: c_int, address: *const SockAddr, len: u32) -> c_int;
    #[cfg(target_os = "linux")]
    pub fn getsockopt(
        fd: c_int,
        level: c_int,
        name: c_int,
        value: *mut c_void,
        len: *mut u32,
    ) -> c_int;
}

#[cfg(target_os = "linux")]
pub type PollCount = c_ulong;
#[cfg(not(target_os = "linux"))]
pub type PollCount = u32;

#[cfg(target_os = "linux")]
extern "C" {
    pub fn __errno_location() -> *mut c_int;
    pub fn prctl(option: c_int, ...) -> c_int;
    pub fn setpgid(pid: c_int, group: c_int) -> c_int;
}
#[cfg(not(target_os = "linux"))]
extern "C" {
    pub fn __error() -> *mut c_int;
    pub fn getpeereid(fd: c_int, uid: *mut u32, gid: *mut u32) -> c_int;
    pub fn posix_spawn(
        pid: *mut c_int,
        path: *const c_char,
        actions: *const c_void,
        attributes: *const c_void,
        argv: *const *const c_char,
        env: *const *const c_char,
    ) -> c_int;
    pub fn posix_spawnattr_init(attributes: *mut c_void) -> c_int;
    pub fn posix_spawnattr_setflags(attributes: *mut c_void, flags: i16) -> c_int;
    pub fn posix_spawnattr_setpgroup(attributes: *mut c_void, group: c_int) -> c_int;
}
