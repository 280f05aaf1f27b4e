//! The few calls of the C library that the standard library does not offer.
//!
//! Layouts are those of Linux (glibc and musl, 64 bit) and macOS; other systems take the BSD side.

use std::ffi::{CString, OsStr, OsString};
use std::io;
use std::os::raw::{c_char, c_int, c_long, c_ulong, c_void};
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::sync::atomic::{AtomicBool, AtomicI32, Ordering};
use std::time::Instant;

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

const SIG_DFL: usize = 0;
const SIG_IGN: usize = 1;
const F_GETFD: c_int = 1;
const F_SETFD: c_int = 2;
const F_GETFL: c_int = 3;
const F_SETFL: c_int = 4;
const FD_CLOEXEC: c_int = 1;
const WNOHANG: c_int = 1;
const RLIMIT_CORE: c_int = 4;
const AF_UNIX: c_int = 1;
const SOCK_STREAM: c_int = 1;

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
struct Timeval {
    sec: c_long,
    usec: c_long,
}
#[cfg(not(target_os = "linux"))]
#[repr(C)]
#[derive(Clone, Copy, Default)]
struct Timeval {
    sec: c_long,
    usec: i32,
}

#[repr(C)]
#[derive(Clone, Copy, Default)]
struct RawUsage {
    user: Timeval,
    system: Timeval,
    maxrss: c_long,
    rest: [c_long; 13],
}

#[cfg(target_os = "linux")]
#[repr(C)]
struct SigAction {
    handler: usize,
    mask: [u64; 16],
    flags: c_int,
    restorer: usize,
}
#[cfg(not(target_os = "linux"))]
#[repr(C)]
struct SigAction {
    handler: usize,
    mask: u32,
    flags: c_int,
}

/// The head of siginfo_t, as far as both systems agree on where its fields begin.
#[repr(C)]
struct SigInfo {
    _signo: c_int,
    _errno: c_int,
    code: c_int,
    #[allow(dead_code)] // Linux has padding here
    pid: c_int,
}

#[cfg(target_os = "linux")]
#[repr(C)]
struct SockAddr {
    family: u16,
    path: [u8; 108],
}
#[cfg(not(target_os = "linux"))]
#[repr(C)]
struct SockAddr {
    len: u8,
    family: u8,
    path: [u8; 104],
}

#[allow(clippy::duplicated_attributes)]
extern "C" {
    static environ: *const *const c_char;
    fn signal(sig: c_int, handler: usize) -> usize;
    fn sigaction(sig: c_int, new: *const SigAction, old: *mut SigAction) -> c_int;
    fn sigprocmask(how: c_int, set: *const u64, old: *mut u64) -> c_int;
    fn kill(pid: c_int, sig: c_int) -> c_int;
    fn getpid() -> c_int;
    fn getppid() -> c_int;
    fn geteuid() -> u32;
    fn setsid() -> c_int;
    fn wait4(pid: c_int, status: *mut c_int, options: c_int, usage: *mut RawUsage) -> c_int;
    fn setrlimit(which: c_int, limit: *const [u64; 2]) -> c_int;
    fn execve(path: *const c_char, argv: *const *const c_char, env: *const *const c_char) -> c_int;
    fn _exit(code: c_int) -> !;
    fn poll(fds: *mut PollFd, count: PollCount, timeout_ms: c_int) -> c_int;
    fn pipe(fds: *mut c_int) -> c_int;
    fn read(fd: c_int, buffer: *mut c_void, count: usize) -> isize;
    fn write(fd: c_int, buffer: *const c_void, count: usize) -> isize;
    fn close(fd: c_int) -> c_int;
    fn fcntl(fd: c_int, command: c_int, ...) -> c_int;
    fn ioctl(fd: c_int, request: c_ulong, ...) -> c_int;
    fn open(path: *const c_char, flags: c_int, ...) -> c_int;
    fn fork() -> c_int;
    fn dup2(from: c_int, to: c_int) -> c_int;
    fn chdir(path: *const c_char) -> c_int;
    fn access(path: *const c_char, mode: c_int) -> c_int;
    fn flock(fd: c_int, operation: c_int) -> c_int;
    fn isatty(fd: c_int) -> c_int;
    fn socket(domain: c_int, kind: c_int, protocol: c_int) -> c_int;
    fn connect(fd: c_int, address: *const SockAddr, len: u32) -> c_int;
    fn getsockopt(fd: c_int, level: c_int, name: c_int, value: *mut c_void, len: *mut u32)
        -> c_int;
}

#[cfg(target_os = "linux")]
type PollCount = c_ulong;
#[cfg(not(target_os = "linux"))]
type PollCount = u32;

#[cfg(target_os = "linux")]
extern "C" {
    fn __errno_location() -> *mut c_int;
    fn prctl(option: c_int, ...) -> c_int;
    fn setpgid(pid: c_int, group: c_int) -> c_int;
}
#[cfg(not(target_os = "linux"))]
extern "C" {
    fn __error() -> *mut c_int;
    fn getpeereid(fd: c_int, uid: *mut u32, gid: *mut u32) -> c_int;
    fn posix_spawn(
        pid: *mut c_int,
        path: *const c_char,
        actions: *const c_void,
        attributes: *const c_void,
        argv: *const *const c_char,
        env: *const *const c_char,
    ) -> c_int;
    fn posix_spawnattr_init(attributes: *mut c_void) -> c_int;
    fn posix_spawnattr_setflags(attributes: *mut c_void, flags: i16) -> c_int;
    fn posix_spawnattr_setpgroup(attributes: *mut c_void, group: c_int) -> c_int;
}

pub fn exit(code: c_int) -> ! {
    // SAFETY: ends the process; nothing of ours is buffered.
    unsafe { _exit(code) }
}

pub fn pid() -> c_int {
    // SAFETY: no arguments, cannot fail.
    unsafe { getpid() }
}

pub fn parent_pid() -> c_int {
    // SAFETY: as above.
    unsafe { getppid() }
}

pub fn effective_uid() -> u32 {
    // SAFETY: as above.
    unsafe { geteuid() }
}

pub fn is_terminal(fd: c_int) -> bool {
    // SAFETY: takes any number.
    unsafe { isatty(fd) == 1 }
}

/// Width of the terminal on `fd`, if it is one and knows.
pub fn columns(fd: c_int) -> Option<usize> {
    let mut size = [0u16; 4];
    // SAFETY: `size` has the layout of struct winsize: rows, columns and two more.
    let known = unsafe { ioctl(fd, TIOCGWINSZ, size.as_mut_ptr()) } == 0;
    (known && size[1] > 0).then_some(size[1] as usize)
}

pub fn send_signal(pid: c_int, sig: c_int) {
    // SAFETY: takes any numbers. A process that is gone already is no error here.
    unsafe { kill(pid, sig) };
}

pub fn is_alive(pid: c_int) -> bool {
    // SAFETY: signal 0 only asks.
    unsafe { kill(pid, 0) == 0 }
}

pub fn is_executable(path: &[u8]) -> bool {
    let Ok(path) = CString::new(path) else {
        return false;
    };
    // SAFETY: `path` is a string that ends with NUL.
    unsafe { access(path.as_ptr(), 1) == 0 }
}

pub fn last_errno() -> i32 {
    io::Error::last_os_error().raw_os_error().unwrap_or(0)
}

// --- streams -------------------------------------------------------------------------------

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

static PIPE_DISPOSITION: AtomicBool = AtomicBool::new(false);

/// Writing to a socket or a stderr that nobody reads must not end us.
pub fn ignore_sigpipe() {
    // SAFETY: SIG_IGN is a valid disposition.
    let was_ignored = unsafe { signal(SIGPIPE, SIG_IGN) } == SIG_IGN;
    PIPE_DISPOSITION.store(was_ignored, Ordering::Relaxed);
}

fn restore_sigpipe() {
    if !PIPE_DISPOSITION.load(Ordering::Relaxed) {
        // SAFETY: SIG_DFL is a valid disposition.
        unsafe { signal(SIGPIPE, SIG_DFL) };
    }
}

fn ignore_sigpipe_again() {
    // SAFETY: SIG_IGN is a valid disposition.
    unsafe { signal(SIGPIPE, SIG_IGN) };
}

// --- descriptors ---------------------------------------------------------------------------

/// A descriptor that is closed when dropped.
#[derive(Debug)]
pub struct Fd(pub c_int);

impl Drop for Fd {
    fn drop(&mut self) {
        // SAFETY: the descriptor is ours alone.
        unsafe { close(self.0) };
    }
}

fn checked(result: c_int) -> io::Result<c_int> {
    if result < 0 {
        Err(io::Error::last_os_error())
    } else {
        Ok(result)
    }
}

fn set_cloexec(fd: c_int) {
    // SAFETY: plain fcntl on a descriptor of ours.
    unsafe { fcntl(fd, F_SETFD, FD_CLOEXEC) };
}

fn set_nonblocking(fd: c_int) {
    // SAFETY: plain fcntl on a descriptor of ours.
    unsafe {
        let flags = fcntl(fd, F_GETFL);
        fcntl(fd, F_SETFL, flags | O_NONBLOCK);
    }
}

/// A pipe, both ends close-on-exec: (read, write).
fn private_pipe() -> io::Result<(Fd, Fd)> {
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

// --- sockets -------------------------------------------------------------------------------

/// Connect to a Unix socket without ever blocking; EAGAIN means that its queue is full.
pub fn connect_unix(path: &[u8]) -> io::Result<Fd> {
    let address = unix_address(path)?;
    // SAFETY: plain socket(2).
    let fd = Fd(checked(unsafe { socket(AF_UNIX, SOCK_STREAM, 0) })?);
    set_cloexec(fd.0);
    set_nonblocking(fd.0);
    let len = std::mem::size_of::<SockAddr>() as u32;
    // SAFETY: `address` is a whole sockaddr_un.
    checked(unsafe { connect(fd.0, &address, len) })?;
    Ok(fd)
}

fn unix_address(path: &[u8]) -> io::Result<SockAddr> {
    // SAFETY: all zero is a valid value.
    let mut address: SockAddr = unsafe { std::mem::zeroed() };
    if path.len() >= address.path.len() {
        let text = "the path of the socket is too long";
        return Err(io::Error::new(io::ErrorKind::InvalidInput, text));
    }
    address.family = AF_UNIX as _;
    #[cfg(not(target_os = "linux"))]
    {
        address.len = std::mem::size_of::<SockAddr>() as u8;
    }
    address.path[..path.len()].copy_from_slice(path);
    Ok(address)
}

/// The user at the other end of a connected Unix socket.
#[cfg(target_os = "linux")]
pub fn peer_uid(fd: c_int) -> Option<u32> {
    let mut credentials = [0u32; 3]; // pid, uid, gid
    let mut len = 12u32;
    // SAFETY: `credentials` has the size and layout of struct ucred.
    let known = unsafe {
        getsockopt(
            fd,
            SOL_SOCKET,
            SO_PEERCRED,
            credentials.as_mut_ptr().cast(),
            &mut len,
        )
    };
    (known == 0).then_some(credentials[1])
}

/// The user at the other end of a connected Unix socket.
#[cfg(not(target_os = "linux"))]
pub fn peer_uid(fd: c_int) -> Option<u32> {
    let (mut uid, mut gid) = (0, 0);
    // SAFETY: both are writable.
    (unsafe { getpeereid(fd, &mut uid, &mut gid) } == 0).then_some(uid)
}

// --- environment ---------------------------------------------------------------------------

/// The environment of what we start: ours, byte for byte, with a few changes.
pub struct Env {
    entries: Vec<CString>,
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

/// A variable of our own environment; None when unset or empty.
pub fn var(name: &str) -> Option<OsString> {
    std::env::var_os(name).filter(|value| !value.is_empty())
}

// --- programs ------------------------------------------------------------------------------

/// A program, its words (the name it is called by first) and its environment, ready for exec.
struct Prepared {
    path: CString,
    _words: Vec<CString>,
    argv: Vec<*const c_char>,
    env: Vec<*const c_char>,
}

impl Prepared {
    fn new(path: &OsStr, args: &[OsString], env: &Env) -> io::Result<Prepared> {
        let path = CString::new(path.as_bytes())?;
        let mut words = Vec::with_capacity(args.len() + 1);
        words.push(path.clone());
        for arg in args {
            words.push(CString::new(arg.as_bytes())?);
        }
        let argv = pointers(&words);
        let env = pointers(&env.entries);
        Ok(Prepared {
            path,
            _words: words,
            argv,
            env,
        })
    }
}

fn pointers(strings: &[CString]) -> Vec<*const c_char> {
    let mut all = strings.iter().map(|one| one.as_ptr()).collect::<Vec<_>>();
    all.push(std::ptr::null());
    all
}

/// Become another program; returns only the error.
pub fn exec(path: &OsStr, args: &[OsString], env: &Env) -> io::Error {
    let prepared = match Prepared::new(path, args, env) {
        Ok(prepared) => prepared,
        Err(error) => return error,
    };
    restore_sigpipe();
    // SAFETY: all strings end with NUL, both arrays with a null pointer.
    unsafe {
        execve(
            prepared.path.as_ptr(),
            prepared.argv.as_ptr(),
            prepared.env.as_ptr(),
        )
    };
    let error = io::Error::last_os_error();
    ignore_sigpipe_again();
    error
}

/// Start a program as a child, in our process group or leading one of its own.
///
/// Handlers of ours become default in it, ignored signals stay ignored. On Linux it dies with us:
/// whoever ends the process that was started as `cargo` means to end cargo.
pub fn spawn(path: &OsStr, args: &[OsString], env: &Env, own_group: bool) -> io::Result<c_int> {
    let prepared = Prepared::new(path, args, env)?;
    restore_sigpipe();
    let result = spawn_prepared(&prepared, own_group);
    ignore_sigpipe_again();
    result
}

#[cfg(target_os = "linux")]
fn spawn_prepared(prepared: &Prepared, own_group: bool) -> io::Result<c_int> {
    const PR_SET_PDEATHSIG: c_int = 1;
    let (reader, writer) = private_pipe()?;
    let ours = pid();
    // SAFETY: there is one thread, so the child may do anything; it only makes system calls.
    let child = checked(unsafe { fork() })?;
    if child == 0 {
        // SAFETY: system calls on values prepared before the fork.
        unsafe {
            if own_group {
                setpgid(0, 0);
            }
            prctl(PR_SET_PDEATHSIG, SIGKILL as c_ulong);
            if getppid() == ours {
                execve(
                    prepared.path.as_ptr(),
                    prepared.argv.as_ptr(),
                    prepared.env.as_ptr(),
                );
            }
            let errno = (*__errno_location()).to_ne_bytes();
            write(writer.0, errno.as_ptr().cast(), errno.len());
            _exit(127)
        }
    }
    drop(writer);
    let mut errno = [0; 4];
    loop {
        match read_some(reader.0, &mut errno) {
            Ok(4) => {
                wait(child, true);
                return Err(io::Error::from_raw_os_error(i32::from_ne_bytes(errno)));
            }
            Err(error) if error.raw_os_error() == Some(EINTR) => {}
            _ => return Ok(child), // end of file: exec closed the other end
        }
    }
}

#[cfg(not(target_os = "linux"))]
fn spawn_prepared(prepared: &Prepared, own_group: bool) -> io::Result<c_int> {
    const POSIX_SPAWN_SETPGROUP: i16 = 2;
    // posix_spawnattr_t is a pointer on macOS and FreeBSD; room for more does no harm.
    let mut attributes = [0u64; 64];
    let attributes = attributes.as_mut_ptr().cast::<c_void>();
    let mut child = 0;
    // SAFETY: `attributes` is initialised before it is used, the strings end with NUL.
    let errno = unsafe {
        posix_spawnattr_init(attributes);
        if own_group {
            posix_spawnattr_setflags(attributes, POSIX_SPAWN_SETPGROUP);
            posix_spawnattr_setpgroup(attributes, 0);
        }
        posix_spawn(
            &mut child,
            prepared.path.as_ptr(),
            std::ptr::null(),
            attributes,
            prepared.argv.as_ptr(),
            prepared.env.as_ptr(),
        )
    };
    match errno {
        0 => Ok(child),
        errno => Err(io::Error::from_raw_os_error(errno)),
    }
}

/// Start a program that outlives us: a session of its own, no inherited descriptors, `/`.
///
/// Returns its pid, once it runs. A process between us and it leads the session and ends at once,
/// so that nobody has to wait for the daemon.
pub fn spawn_detached(path: &OsStr, args: &[OsString], env: &Env) -> io::Result<c_int> {
    let prepared = Prepared::new(path, args, env)?;
    let (reader, writer) = private_pipe()?;
    // SAFETY: there is one thread, so the children may do anything.
    let middle = checked(unsafe { fork() })?;
    if middle == 0 {
        // SAFETY: as above; ends in exec or _exit.
        unsafe { become_daemon(&prepared, writer.0) }
    }
    drop(writer);
    wait(middle, true);
    let mut started = None;
    let mut said = [0; 5]; // `p` and the daemon's pid, or `e` and the errno of its exec
    loop {
        match read_some(reader.0, &mut said) {
            Ok(5) => {
                let number = i32::from_ne_bytes([said[1], said[2], said[3], said[4]]);
                if said[0] == b'e' {
                    return Err(io::Error::from_raw_os_error(number));
                }
                started = Some(number);
            }
            Err(error) if error.raw_os_error() == Some(EINTR) => {}
            _ => break,
        }
    }
    started.ok_or_else(|| io::Error::new(io::ErrorKind::Other, "fork failed"))
}

fn tell(writer: c_int, what: u8, number: c_int) {
    let bytes = number.to_ne_bytes();
    let _ = write_some(writer, &[what, bytes[0], bytes[1], bytes[2], bytes[3]]);
}

unsafe fn become_daemon(prepared: &Prepared, writer: c_int) -> ! {
    setsid();
    let child = fork();
    if child != 0 {
        if child > 0 {
            tell(writer, b'p', child);
        }
        _exit(0);
    }
    for sig in 1..32 {
        signal(sig, SIG_DFL);
    }
    unblock_all();
    for fd in inherited_fds()
        .into_iter()
        .filter(|fd| *fd > 2 && *fd != writer)
    {
        close(fd);
    }
    let null = open(b"/dev/null\0".as_ptr().cast(), O_RDWR);
    for fd in 0..3 {
        dup2(null, fd);
    }
    if null > 2 {
        close(null);
    }
    chdir(b"/\0".as_ptr().cast());
    execve(
        prepared.path.as_ptr(),
        prepared.argv.as_ptr(),
        prepared.env.as_ptr(),
    );
    tell(writer, b'e', last_errno());
    _exit(127)
}

fn inherited_fds() -> Vec<c_int> {
    let Ok(entries) = std::fs::read_dir("/dev/fd") else {
        return (3..256).collect();
    };
    entries
        .flatten()
        .filter_map(|entry| {
            entry
                .file_name()
                .to_str()
                .and_then(|name| name.parse().ok())
        })
        .collect()
}

// --- children ------------------------------------------------------------------------------

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

fn unblock_all() {
    let none = [0u64; 16];
    // SAFETY: an all-zero sigset_t is the empty set on both systems.
    unsafe { sigprocmask(SIG_UNBLOCK_ALL, none.as_ptr(), std::ptr::null_mut()) };
}

// --- signals -------------------------------------------------------------------------------

static PIPE_WRITER: AtomicI32 = AtomicI32::new(-1);
static CHILD_EXISTS: AtomicBool = AtomicBool::new(false);

/// A signal that arrived; `by_kernel` means that the whole process group got it.
#[derive(Clone, Copy, Debug)]
pub struct Arrival {
    pub signal: c_int,
    pub by_kernel: bool,
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
        for sig in PASSED_ON {
            // SAFETY: all-zero is a valid sigaction; a null pointer only asks.
            let ignored = unsafe {
                let mut old: SigAction = std::mem::zeroed();
                sigaction(sig, std::ptr::null(), &mut old);
                old.handler == SIG_IGN
            };
            if !ignored {
                catch(sig);
            }
        }
        catch(SIGCHLD); // were it ignored, the child's status would be lost
        Ok(Signals {
            reader,
            _writer: writer,
        })
    }

    pub fn fd(&self) -> c_int {
        self.reader.0
    }

    /// From now on a signal of the kernel's reaches the child as well.
    pub fn child_exists(&self, exists: bool) {
        CHILD_EXISTS.store(exists, Ordering::Relaxed);
    }

    pub fn arrived(&self) -> Vec<Arrival> {
        let mut found = Vec::new();
        let mut buffer = [0u8; 64];
        while let Ok(count) = read_some(self.reader.0, &mut buffer) {
            for pair in buffer[..count].chunks_exact(2) {
                found.push(Arrival {
                    signal: c_int::from(pair[0]),
                    by_kernel: pair[1] == 1,
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
        let by_kernel = came_from_kernel(&*info) && CHILD_EXISTS.load(Ordering::Relaxed);
        let pair = [sig as u8, u8::from(by_kernel)];
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

pub fn os_string(bytes: &[u8]) -> OsString {
    OsString::from_vec(bytes.to_vec())
}
