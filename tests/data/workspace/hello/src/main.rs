//! Greets each name that it reads, in the language of its argument. Ends with 3 for an unknown one.

use std::io::{stdin, BufRead};
use std::process::ExitCode;

fn main() -> ExitCode {
    let language = std::env::args().nth(1).unwrap_or_else(|| "en".into());
    for name in stdin().lock().lines().map_while(Result::ok) {
        match greeting::greet(&language, &name) {
            Some(line) => println!("{line}"),
            None => return ExitCode::from(3),
        }
    }
    println!("{}", shout::shout!("bye"));
    ExitCode::SUCCESS
}
