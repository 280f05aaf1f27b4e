//! How full a file system is.

use std::ffi::CString;
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

use super::c;

/// In blocks of the file system's own size; `free_blocks` are those that its users may have.
#[derive(Clone, Copy, Debug)]
pub struct Space {
    pub all_blocks: u64,
    pub free_blocks: u64,
}

/// Ask how full the file system of a path is; None when that cannot be told.
#[allow(clippy::useless_conversion)] // on macOS blocks are counted in 32 bits
pub fn space(path: &Path) -> Option<Space> {
    let path = CString::new(path.as_os_str().as_bytes()).ok()?;
    let mut found = c::Statvfs::default();
    // SAFETY: `path` ends with NUL, and `found` is larger than the system's own structure.
    let result = unsafe { c::statvfs(path.as_ptr(), &mut found) };
    (result == 0).then_some(Space {
        all_blocks: found.blocks.into(),
        free_blocks: found.available.into(),
    })
}
