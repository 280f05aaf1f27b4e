//! Where a build's processes belong: in the cgroup of builds, last to run, first to end for memory.
//!
//! We go there ourselves before cargo starts, so everything below is born there and no pid can be
//! mistaken. forge/client/build_place.py does the same.

use std::fs::OpenOptions;
use std::io::{self, Write};
use std::path::Path;

use crate::places;

const OOM_SCORE_ADJ: &str = "/proc/self/oom_score_adj";

/// Enter the cgroup whose `cgroup.procs` is named; whether that worked, None when none is named.
pub fn enter(procs: Option<&[u8]>) -> Option<bool> {
    procs.map(|path| put(&places::path_from(path), "0").is_ok()) // 0: ourselves
}

/// Raise what the kernel chooses by when memory runs out; a higher one of the user's stays.
pub fn offer_first(offer: i64) {
    offer_in(Path::new(OOM_SCORE_ADJ), offer);
}

fn offer_in(path: &Path, offer: i64) {
    let own = std::fs::read_to_string(path)
        .ok()
        .and_then(|text| text.trim().parse::<i64>().ok());
    if own.is_some_and(|own| own < offer) {
        let _ = put(path, &offer.to_string()); // what cannot be raised stays as it is
    }
}

fn put(path: &Path, text: &str) -> io::Result<()> {
    OpenOptions::new()
        .write(true)
        .open(path)?
        .write_all(text.as_bytes())
}

#[cfg(test)]
mod tests {
    use super::{enter, offer_in};

    #[test]
    fn a_cgroup_that_is_not_there_is_not_entered_and_none_is_not_tried() {
        assert_eq!(enter(None), None);
        assert_eq!(enter(Some(b"/nonexistent/cgroup.procs")), Some(false));
    }

    #[test]
    fn a_build_offers_itself_but_never_less_than_the_user_did() {
        let file = std::env::temp_dir().join(format!("forge-oom-{}", std::process::id()));
        for (own, after) in [
            ("0\n", "500"),
            ("800", "800"),
            ("-100\n", "500"),
            ("?", "?"),
        ] {
            std::fs::write(&file, own).unwrap();
            offer_in(&file, 500);
            let text = std::fs::read_to_string(&file).unwrap();
            assert!(text.starts_with(after), "{own}: {text}");
        }
        std::fs::remove_file(&file).unwrap();
    }
}
