//! What must be told to a provider and to nobody else.
//!
//! Invariants: a secret has no way into `Debug`, a log or an error; what a provider says back is
//! cleansed of every secret of its channel before anybody sees it, in each form it was sent in.

use std::fmt;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;

/// Stands where a secret stood.
const MASK: &str = "[secret]";
/// What is shorter is not looked for: it would be found everywhere.
const LENGTH_MIN: usize = 4;

/// A text that is shown to nobody.
#[derive(Clone, PartialEq, Eq)]
pub(crate) struct Secret(String);

impl Secret {
    /// Keeps a text.
    pub fn new(text: impl Into<String>) -> Self {
        Self(text.into())
    }

    /// The text, for whom it is meant.
    pub fn reveal(&self) -> &str {
        &self.0
    }

    /// What a client that has this user name and password sends (RFC 7617).
    pub fn basic(username: &str, password: &Self) -> Self {
        Self(format!("Basic {}", STANDARD.encode(format!("{username}:{}", password.0))))
    }

    /// What a client that has this token sends (RFC 6750).
    pub fn bearer(token: &Self) -> Self {
        Self(format!("Bearer {}", token.0))
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(MASK)
    }
}

/// All that a channel must not show, in every form that it may come back in.
#[derive(Clone, Default)]
pub(crate) struct Secrets(Vec<String>);

impl Secrets {
    /// Adds one.
    pub fn add(&mut self, secret: &Secret) {
        let text = secret.reveal();
        let quoted = serde_json::Value::from(text).to_string();
        let inner = quoted.trim_matches('"').to_owned();
        let percent: String = url::form_urlencoded::byte_serialize(text.as_bytes()).collect();
        let slashes = inner.replace('/', "\\/");
        for form in [text.to_owned(), inner, slashes, percent, STANDARD.encode(text)] {
            if form.len() >= LENGTH_MIN && !self.0.contains(&form) {
                self.0.push(form);
            }
        }
        // A longer one may hold a shorter one: it goes first.
        self.0.sort_by_key(|form| std::cmp::Reverse(form.len()));
    }

    /// The text without any of them.
    pub fn cleanse(&self, text: &str) -> String {
        self.0.iter().fold(text.to_owned(), |text, form| text.replace(form, MASK))
    }
}

impl fmt::Debug for Secrets {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} secrets", self.0.len())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_form_of_a_secret_is_shown() {
        let mut secrets = Secrets::default();
        let secret = Secret::new("https://h/T0/a\"b c");
        secrets.add(&secret);
        secrets.add(&Secret::basic("u", &Secret::new("pass word")));
        let said = format!(
            "{} {} {} {} Basic dTpwYXNzIHdvcmQ=",
            secret.reveal(),
            "https:\\/\\/h\\/T0\\/a\\\"b c",
            "https%3A%2F%2Fh%2FT0%2Fa%22b+c",
            STANDARD.encode(secret.reveal()),
        );
        let cleansed = secrets.cleanse(&said);
        assert_eq!(cleansed, "[secret] [secret] [secret] [secret] [secret]");
        assert!(!format!("{secret:?} {secrets:?}").contains("T0"));
    }
}
