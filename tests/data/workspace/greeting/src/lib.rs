//! Greets in a few languages.

include!(concat!(env!("OUT_DIR"), "/words.rs"));

/// Greets `name` in `language`, if that language is known.
///
/// ```
/// assert_eq!(greeting::greet("fr", "Anna").as_deref(), Some("bonjour, Anna"));
/// ```
pub fn greet(language: &str, name: &str) -> Option<String> {
    let (_, word) = WORDS.iter().find(|(known, _)| *known == language)?;
    Some(format!("{word}, {name}"))
}

#[cfg(test)]
mod tests {
    use super::greet;

    #[test]
    fn an_unknown_language_has_no_greeting() {
        assert_eq!(greet("tlh", "Worf"), None);
    }
}
