//! What a link that is undone has written so far. On a RAM disk that is memory, and the point of
//! undoing it was to get memory back; the linker would begin by removing it in any case.

use std::ffi::OsStr;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

/// The output of a link, and what stood there before it began.
pub struct Partial {
    output: Option<PathBuf>,
    before: Option<Stamp>,
}

type Stamp = (u64, u64, i64, i64);

impl Partial {
    pub fn of(output: Option<&OsStr>) -> Partial {
        let output = output.map(PathBuf::from);
        let before = output.as_deref().and_then(stamp);
        Partial { output, before }
    }

    /// Remove what this link has written, and nothing that it has not touched.
    pub fn remove(&self) {
        let Some(output) = &self.output else { return };
        let now = stamp(output);
        if now.is_some() && now != self.before {
            // What cannot be removed is the linker's to deal with.
            let _ = std::fs::remove_file(output);
        }
    }
}

fn stamp(path: &Path) -> Option<Stamp> {
    let found = std::fs::symlink_metadata(path).ok()?;
    let changed = (found.mtime(), found.mtime_nsec());
    found
        .is_file()
        .then(|| (found.ino(), found.size(), changed.0, changed.1))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn place(name: &str) -> PathBuf {
        let place =
            std::env::temp_dir().join(format!("forge-partial-{}-{name}", std::process::id()));
        let _ = std::fs::remove_dir_all(&place);
        std::fs::create_dir(&place).unwrap();
        place
    }

    #[test]
    fn what_the_link_wrote_is_removed() {
        let place = place("new");
        let output = place.join("app");
        let partial = Partial::of(Some(output.as_os_str()));
        std::fs::write(&output, "half").unwrap();
        partial.remove();
        assert!(!output.exists());
        std::fs::remove_dir_all(place).unwrap();
    }

    #[test]
    fn what_it_wrote_over_is_removed_and_what_it_left_alone_is_not() {
        let place = place("old");
        let output = place.join("app");
        std::fs::write(&output, "of an earlier link").unwrap();
        let partial = Partial::of(Some(output.as_os_str()));
        partial.remove();
        assert!(output.exists());
        std::fs::write(&output, "half").unwrap();
        partial.remove();
        assert!(!output.exists());
        std::fs::remove_dir_all(place).unwrap();
    }

    #[test]
    fn links_directories_and_devices_are_left_alone() {
        let place = place("odd");
        let target = place.join("target");
        std::fs::write(&target, "mine").unwrap();
        let link = place.join("link");
        let partial = Partial::of(Some(link.as_os_str()));
        std::os::unix::fs::symlink(&target, &link).unwrap();
        partial.remove();
        assert!(link.exists() && target.exists());
        for output in [Some(place.as_os_str()), Some(OsStr::new("/dev/null")), None] {
            let mut partial = Partial::of(output);
            partial.before = Some((0, 0, 0, 0));
            partial.remove();
        }
        assert!(place.exists() && Path::new("/dev/null").exists());
        std::fs::remove_dir_all(place).unwrap();
    }
}
