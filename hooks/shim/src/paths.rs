//! Paths as bytes, and programs on PATH.

use std::ffi::{OsStr, OsString};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use crate::sys;

pub fn basename(path: &[u8]) -> &[u8] {
    path.rsplit(|byte| *byte == b'/').next().unwrap_or(path)
}

/// Device and inode: the same for every name of one file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FileId {
    pub device: u64,
    pub inode: u64,
}

impl FileId {
    pub fn of(path: &Path) -> Option<FileId> {
        let found = std::fs::metadata(path).ok()?;
        Some(FileId {
            device: found.dev(),
            inode: found.ino(),
        })
    }

    pub fn own() -> Option<FileId> {
        FileId::of(&std::env::current_exe().ok()?)
    }
}

/// The programs called `name` in the absolute directories of PATH, in order.
pub fn on_path(name: &OsStr) -> Vec<PathBuf> {
    let path = sys::var("PATH").unwrap_or_default();
    path.as_bytes()
        .split(|byte| *byte == b':')
        .filter(|directory| directory.starts_with(b"/"))
        .map(|directory| Path::new(OsStr::from_bytes(directory)).join(name))
        .filter(|candidate| is_program(candidate))
        .collect()
}

pub fn is_program(path: &Path) -> bool {
    std::fs::metadata(path).is_ok_and(|found| found.is_file())
        && sys::is_executable(path.as_os_str().as_bytes())
}

/// Where execvp(3) would find `program`, never finding this very file.
pub fn resolve(program: &OsStr) -> Option<OsString> {
    if program.as_bytes().contains(&b'/') {
        return Some(program.to_owned());
    }
    let own = FileId::own();
    let found = on_path(program)
        .into_iter()
        .find(|path| own.is_none() || FileId::of(path) != own);
    found.map(PathBuf::into_os_string)
}
