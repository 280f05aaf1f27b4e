//! `shout!("text")` is `"TEXT!"`, made by the compiler.

use proc_macro::{Literal, TokenStream, TokenTree};

/// Turns one string literal into capitals with an exclamation mark.
#[proc_macro]
pub fn shout(input: TokenStream) -> TokenStream {
    let text = input.to_string();
    let quiet = text.trim().trim_matches('"');
    let loud = Literal::string(&format!("{}!", quiet.to_uppercase()));
    TokenTree::from(loud).into()
}
