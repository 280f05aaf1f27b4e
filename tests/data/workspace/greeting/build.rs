//! Writes the table of greetings into OUT_DIR.

use std::path::Path;
use std::{env, fs};

const WORDS: [(&str, &str); 3] = [("de", "Hallo"), ("en", "hello"), ("fr", "bonjour")];

fn main() {
    println!("cargo:rerun-if-changed=build.rs");
    let out_dir = env::var_os("OUT_DIR").expect("cargo sets OUT_DIR");
    let table = format!(
        "pub const WORDS: [(&str, &str); {}] = {WORDS:?};\n",
        WORDS.len()
    );
    fs::write(Path::new(&out_dir).join("words.rs"), table).expect("OUT_DIR can be written");
}
