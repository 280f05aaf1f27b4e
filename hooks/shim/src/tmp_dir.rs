//! Where a rustc and its linker put temporary files: on the RAM disk, where the daemon has made a
//! directory for the build. They are told by TMPDIR, and nobody else is: what cargo runs keeps the
//! place that it has without us.

use std::ffi::OsString;
use std::path::Path;

use crate::sys::{self, Env};

/// Of the disk so much must be free, or temporary files could fill it while a build needs it.
const FREE_PART: u64 = 8;

/// Set TMPDIR for the rustc behind a gate, unless the user has.
pub fn set(env: &mut Env) {
    let ours = choose(&|name| sys::var(name), &|path| {
        sys::space(path).is_some_and(has_room) && path.is_dir()
    });
    if let Some(directory) = ours {
        env.set(
            b"TMPDIR",
            std::os::unix::ffi::OsStrExt::as_bytes(&*directory),
        );
    }
}

/// The user's own wrapper may be a client of a server that it starts, as sccache is: that would
/// keep the directory of a build that is long over.
fn choose(
    var: &dyn Fn(&str) -> Option<OsString>,
    is_usable: &dyn Fn(&Path) -> bool,
) -> Option<OsString> {
    if var("TMPDIR").is_some() || var("FORGE_RUSTC_WRAPPER").is_some() {
        return None;
    }
    var("FORGE_TMPDIR").filter(|directory| is_usable(Path::new(directory)))
}

fn has_room(space: sys::Space) -> bool {
    space.free_blocks >= space.all_blocks / FREE_PART
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_where_the_user_has_not_said_otherwise_and_there_is_room() {
        let table: [(&[&str], bool, bool); 5] = [
            (&["FORGE_TMPDIR"], true, true),
            (&["FORGE_TMPDIR"], false, false),
            (&["FORGE_TMPDIR", "TMPDIR"], true, false),
            (&["FORGE_TMPDIR", "FORGE_RUSTC_WRAPPER"], true, false),
            (&[], true, false),
        ];
        for (set, usable, ours) in table {
            let var = |name: &str| set.contains(&name).then(|| OsString::from("/t"));
            assert_eq!(choose(&var, &|_| usable).is_some(), ours, "{set:?}");
        }
    }

    #[test]
    fn a_disk_that_is_nearly_full_has_no_room() {
        let space = |free_blocks| sys::Space {
            all_blocks: 80,
            free_blocks,
        };
        assert!(has_room(space(10)));
        assert!(!has_room(space(9)));
    }

    #[test]
    fn the_space_of_a_real_disk_is_told() {
        let space = sys::space(Path::new("/")).unwrap();
        assert!(space.all_blocks > 0 && space.free_blocks <= space.all_blocks);
        assert!(sys::space(Path::new("/no/such/place")).is_none());
    }
}
