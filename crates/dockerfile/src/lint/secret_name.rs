//! Whether the name of a variable sounds like a secret.

/// Words that make a name sound like a secret.
const SECRET: [&str; 10] =
    ["apikey", "auth", "credential", "credentials", "key", "password", "pword", "passwd", "secret", "token"];

/// Words that tell it is none after all.
const HARMLESS: [&str; 3] = ["public", "file", "version"];

/// Whether one of the words that `_` separates is a secret's, and none tells otherwise.
pub(super) fn sounds_secret(name: &str) -> bool {
    let has = |words: &[&str]| name.split('_').any(|part| words.iter().any(|word| part.eq_ignore_ascii_case(word)));
    has(&SECRET) && !has(&HARMLESS)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn whole_words_count() {
        for secret in ["KEY", "api_key", "GITHUB_TOKEN", "secret_MESSAGE", "Auth", "A_PASSWORD_B"] {
            assert!(sounds_secret(secret), "{secret}");
        }
        for harmless in ["SECRETARY", "TOKENIZER", "SSHKEY", "PUBLIC_KEY", "TOKEN_FILE", "KEY_VERSION", "KEYS"] {
            assert!(!sounds_secret(harmless), "{harmless}");
        }
    }
}
