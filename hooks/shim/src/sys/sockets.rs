//! Unix stream sockets that never block, and who is at the other end.

use std::io;
use std::os::raw::c_int;

use super::c::*;
use super::descriptors::{checked, set_cloexec, set_nonblocking, Fd};

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
