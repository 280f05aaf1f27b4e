//! Every language of the generated table greets.

#[test]
fn every_generated_language_greets() {
    for (language, word) in greeting::WORDS {
        assert_eq!(
            greeting::greet(language, "you"),
            Some(format!("{word}, you"))
        );
    }
}
