//! Starting programs: in our place, as a child, or as a daemon.

use std::ffi::{CString, OsStr, OsString};
use std::io;
#[cfg(target_os = "linux")]
use std::os::raw::c_ulong;
#[cfg(not(target_os = "linux"))]
use std::os::raw::c_void;
use std::os::raw::{c_char, c_int};
use std::os::unix::ffi::OsStrExt;

use super::c::*;
use super::children::{unblock_all, wait};
use super::descriptors::{checked, private_pipe, read_some, write_some};
use super::environment::Env;
use super::last_errno;
#[cfg(target_os = "linux")]
use super::pid;
use super::signals::{ignore_sigpipe_again, restore_sigpipe};

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

/// Start a program that outlives us: no terminal, no inherited descriptors, in `/`.
///
/// Returns its pid, once it runs. A process between us and it leaves the terminal and ends at once,
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
