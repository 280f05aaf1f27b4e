//! The real cargo, and never this program, whatever PATH holds.
//!
//! Three nets: a candidate that is our own file is skipped; so is one in a directory with our
//! marker, which catches other versions of us; and a shim that is started by a shim as "the real
//! cargo" sees that in FORGE_SHIM_DEPTH, knows all that were tried before, and looks further.

use std::ffi::OsString;
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::path::{Path, PathBuf};

use crate::paths::{self, FileId};
use crate::sys;

pub const DEPTH: &str = "FORGE_SHIM_DEPTH";
pub const MARKER: &str = ".opta-forge-shim";
const MAX_SHIMS: usize = 16;

/// The shims that led to this one without a cargo in between.
pub struct Chain {
    shims: Vec<FileId>,
    /// Whether a shim took us for the real cargo.
    pub is_loop: bool,
}

impl Chain {
    /// Read FORGE_SHIM_DEPTH: `PID:DEVICE.INODE:…`. It counts only when that very process became
    /// us or started us; from further up it is just inherited by a cargo inside a build.
    pub fn read() -> Chain {
        let text = sys::var(DEPTH).map(OsString::into_vec).unwrap_or_default();
        let text = String::from_utf8(text).unwrap_or_default();
        let mut fields = text.split(':');
        let pid = fields.next().and_then(|pid| pid.parse::<i32>().ok());
        let is_loop = pid == Some(sys::pid()) || pid == Some(sys::parent_pid());
        let mut shims = Vec::new();
        if is_loop {
            shims.extend(fields.filter_map(|field| {
                let (device, inode) = field.split_once('.')?;
                Some(FileId {
                    device: device.parse().ok()?,
                    inode: inode.parse().ok()?,
                })
            }));
        }
        shims.extend(FileId::own());
        Chain { shims, is_loop }
    }

    /// The value for what we start.
    pub fn written(&self) -> String {
        let ids = self
            .shims
            .iter()
            .map(|id| format!(":{}.{}", id.device, id.inode));
        format!("{}{}", sys::pid(), ids.collect::<String>())
    }

    /// Find the real cargo.
    pub fn real_cargo(&self) -> Option<PathBuf> {
        if self.shims.len() > MAX_SHIMS {
            return None;
        }
        let given = |name: &str| {
            sys::var(name)
                .map(PathBuf::from)
                .filter(|path| path.is_absolute())
        };
        let below = |name: &str, rest: &str| given(name).map(|directory| directory.join(rest));
        given("FORGE_REAL_CARGO")
            .into_iter()
            .chain(paths::on_path("cargo".as_ref()))
            .chain(given("CARGO"))
            .chain(below("CARGO_HOME", "bin/cargo"))
            .chain(below("HOME", ".cargo/bin/cargo"))
            .find(|candidate| paths::is_program(candidate) && !self.is_shim(candidate))
    }

    fn is_shim(&self, candidate: &Path) -> bool {
        let marked = |path: &Path| path.parent().is_some_and(|dir| dir.join(MARKER).exists());
        let resolved = candidate
            .canonicalize()
            .unwrap_or_else(|_| candidate.to_owned());
        FileId::of(candidate).is_some_and(|id| self.shims.contains(&id))
            || marked(candidate)
            || marked(&resolved)
            || paths::basename(resolved.as_os_str().as_bytes()) == b"forge-shim"
    }
}
