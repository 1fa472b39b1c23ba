//! Reads one table of `alerts.toml`, strictly: every field is asked for once, by name, and what nobody
//! asked for is a fault. A fault has its line, and never the value: that may be a secret.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::time::Duration;

use toml::Spanned;
use toml::de::{DeTable, DeValue};

use super::secret::{Secret, Secrets};

/// Largest file that holds a secret or certificates, in bytes.
const FILE_MAX_BYTES: u64 = 1 << 20;

/// Something in the file that is not as it must be.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Fault {
    /// In which line, from 1.
    pub line: usize,
    /// What, and how it is put right.
    pub text: String,
}

/// Where values come from that are not in the file itself.
pub(crate) struct Sources<'a> {
    /// Relative names of files begin here.
    pub dir: PathBuf,
    /// The environment.
    pub env: &'a dyn Fn(&str) -> Option<String>,
}

/// Which line a place of a text is in, from 1.
pub(crate) fn line_of(text: &str, at: usize) -> usize {
    text.as_bytes().iter().take(at).filter(|byte| **byte == b'\n').count() + 1
}

/// A length of time: a number and `ms`, `s`, `m`, `h` or `d`.
pub(crate) fn span(text: &str) -> Option<Duration> {
    let digits = text.find(|c: char| !c.is_ascii_digit())?;
    let (number, unit) = text.split_at(digits);
    let number: u64 = number.parse().ok()?;
    let ms = match unit {
        "ms" => 1,
        "s" => 1_000,
        "m" => 60_000,
        "h" => 3_600_000,
        "d" => 86_400_000,
        _ => return None,
    };
    number.checked_mul(ms).map(Duration::from_millis)
}

/// A length of time as [`span`] reads it.
pub(crate) fn span_text(span: Duration) -> String {
    let ms = span.as_millis();
    let units = [(86_400_000, "d"), (3_600_000, "h"), (60_000, "m"), (1_000, "s")];
    let whole = units.into_iter().find(|(unit, _)| ms >= *unit && ms.is_multiple_of(*unit));
    whole.map_or_else(|| format!("{ms}ms"), |(unit, name)| format!("{}{name}", ms / unit))
}

/// A table whose fields are being asked for.
pub(crate) struct Fields<'a> {
    /// What it is, for faults: `channel "pager"`.
    pub what: String,
    text: &'a str,
    line: usize,
    table: DeTable<'a>,
    sources: &'a Sources<'a>,
    /// Every field that was asked for, and where it is, if it is there.
    asked: BTreeMap<String, Option<usize>>,
    secrets: Secrets,
}

impl<'a> Fields<'a> {
    /// The fields of a table that begins at a place of the text.
    pub fn new(
        what: &str,
        text: &'a str,
        table: DeTable<'a>,
        at: usize,
        sources: &'a Sources<'a>,
    ) -> Self {
        let (line, what) = (line_of(text, at), what.to_owned());
        Self {
            what,
            text,
            line,
            table,
            sources,
            asked: BTreeMap::new(),
            secrets: Secrets::default(),
        }
    }

    /// A fault of the table as a whole.
    pub fn fault(&self, why: impl std::fmt::Display) -> Fault {
        Fault { line: self.line, text: format!("{}: {why}", self.what) }
    }

    /// A fault of a field that was asked for; it has the field's line.
    pub fn fault_of(&self, name: &str, why: impl std::fmt::Display) -> Fault {
        match self.asked.get(name) {
            Some(Some(at)) => self.fault_at(*at, format!("{name} {why}")),
            _ => self.fault(format!("{name} {why}")),
        }
    }

    fn fault_at(&self, at: usize, why: impl std::fmt::Display) -> Fault {
        Fault { line: line_of(self.text, at), text: format!("{}: {why}", self.what) }
    }

    fn take(&mut self, name: &str) -> Option<Spanned<DeValue<'a>>> {
        let found = self.table.remove(name);
        self.asked.insert(name.to_owned(), found.as_ref().map(|found| found.span().start));
        found
    }

    fn is(&self, found: &Spanned<DeValue<'_>>, name: &str, wanted: &str) -> Fault {
        let kind = found.get_ref().type_str();
        self.fault_at(found.span().start, format!("{name} must be {wanted}, and is {kind}"))
    }

    /// A text.
    pub fn text(&mut self, name: &str) -> Result<Option<String>, Fault> {
        let Some(found) = self.take(name) else { return Ok(None) };
        let Some(text) = found.get_ref().as_str() else {
            return Err(self.is(&found, name, "a text in quotes"));
        };
        if text.is_empty() || text.chars().any(char::is_control) {
            let why = format!("{name} is empty or holds control characters");
            return Err(self.fault_at(found.span().start, why));
        }
        Ok(Some(text.to_owned()))
    }

    /// A text that must be there.
    pub fn needed(&mut self, name: &str, such_as: &str) -> Result<String, Fault> {
        let found = self.text(name)?;
        found.ok_or_else(|| self.fault(format!("{name} is missing; add `{name} = {such_as}`")))
    }

    /// A list of texts.
    pub fn texts(&mut self, name: &str) -> Result<Vec<String>, Fault> {
        let Some(found) = self.take(name) else { return Ok(Vec::new()) };
        let list = found.get_ref().as_array();
        let texts = list.and_then(|list| {
            list.iter().map(|one| one.get_ref().as_str().map(str::to_owned)).collect()
        });
        texts.ok_or_else(|| self.is(&found, name, "a list of texts: [\"one\", \"two\"]"))
    }

    /// Yes or no.
    pub fn flag(&mut self, name: &str, default: bool) -> Result<bool, Fault> {
        let Some(found) = self.take(name) else { return Ok(default) };
        found.get_ref().as_bool().ok_or_else(|| self.is(&found, name, "true or false"))
    }

    /// A port.
    pub fn port(&mut self, name: &str, default: u16) -> Result<u16, Fault> {
        let Some(found) = self.take(name) else { return Ok(default) };
        let number = found.get_ref().as_integer().and_then(|found| found.as_str().parse().ok());
        number.ok_or_else(|| self.is(&found, name, "a port: a number up to 65535"))
    }

    /// One of a few words.
    pub fn word(&mut self, name: &str, words: &[&'static str]) -> Result<&'static str, Fault> {
        let Some(found) = self.take(name) else { return Ok(words[0]) };
        let given = found.get_ref().as_str();
        let known = words.iter().copied().find(|word| Some(*word) == given);
        known.ok_or_else(|| self.is(&found, name, &format!("one of {}", words.join(", "))))
    }

    /// A length of time within bounds.
    pub fn span(
        &mut self,
        name: &str,
        default: Duration,
        (least, most): (Duration, Duration),
    ) -> Result<Duration, Fault> {
        let Some(found) = self.take(name) else { return Ok(default) };
        let given = found.get_ref().as_str().and_then(span);
        given.filter(|span| (least..=most).contains(span)).ok_or_else(|| {
            let why = format!(
                "{name} must be a time such as \"{}\", from {} to {}",
                span_text(default),
                span_text(least),
                span_text(most)
            );
            self.fault_at(found.span().start, why)
        })
    }

    /// A secret: given as `name`, or in a file `name_file`, or in a variable `name_env`.
    pub fn secret(&mut self, name: &str) -> Result<Option<Secret>, Fault> {
        let (file, env) = (format!("{name}_file"), format!("{name}_env"));
        let inline = self.text(name)?;
        let file_given = self.text(&file)?;
        let env_given = self.text(&env)?;
        let given = match (inline, file_given, env_given) {
            (None, None, None) => return Ok(None),
            (Some(text), None, None) => text,
            (None, Some(path), None) => self.file(&file, &path)?.trim().to_owned(),
            // Neither the variable's name nor the file's is shown: they may be the secret, by mistake.
            (None, None, Some(variable)) => (self.sources.env)(&variable).ok_or_else(|| {
                self.fault_of(&env, "names a variable that is not in the environment; set it")
            })?,
            _ => {
                return Err(self.fault(format!("give one of {name}, {file} and {env}, not more")));
            }
        };
        if given.is_empty() || given.chars().any(char::is_control) {
            return Err(self.fault(format!("the {name} is empty, or is more than one line")));
        }
        let secret = Secret::new(given);
        self.secrets.add(&secret);
        Ok(Some(secret))
    }

    /// A secret that must be there.
    pub fn needed_secret(&mut self, name: &str) -> Result<Secret, Fault> {
        let found = self.secret(name)?;
        found.ok_or_else(|| {
            self.fault(format!("{name} is missing; give it as {name}, {name}_file or {name}_env"))
        })
    }

    /// Something made of a secret that must not be shown either.
    pub fn hide(&mut self, secret: &Secret) {
        self.secrets.add(secret);
    }

    /// What a file holds that a field names.
    pub fn file(&self, name: &str, path: &str) -> Result<String, Fault> {
        let whole = self.sources.dir.join(path);
        let read = || -> std::io::Result<String> {
            let found = std::fs::metadata(&whole)?;
            if !found.is_file() || found.len() > FILE_MAX_BYTES {
                return Err(std::io::Error::other("it is no file of a reasonable size"));
            }
            std::fs::read_to_string(&whole)
        };
        read().map_err(|error| {
            let beside = "relative names begin beside alerts.toml";
            self.fault_of(name, format!("names a file that cannot be read ({beside}): {error}"))
        })
    }

    /// Names a field that is taken elsewhere.
    pub fn asked(&mut self, name: &str) {
        self.asked.insert(name.to_owned(), None);
    }

    /// Ends the asking.
    pub fn end(self) -> Result<Secrets, Fault> {
        let left = self.table.keys().min_by_key(|key| key.span().start);
        match left {
            None => Ok(self.secrets),
            Some(key) => {
                let asked: Vec<&str> = self.asked.keys().map(String::as_str).collect();
                let why = format!(
                    "there is no field {:?}; there are {}",
                    key.get_ref(),
                    asked.join(", ")
                );
                Err(self.fault_at(key.span().start, why))
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn spans_are_read_and_shown_alike() {
        for text in ["250ms", "10s", "5m", "2h", "7d"] {
            assert_eq!(span(text).map(span_text).as_deref(), Some(text));
        }
        for text in ["", "5", "s", "5 s", "-5s", "5w", "99999999999999999999s"] {
            assert_eq!(span(text), None, "{text:?}");
        }
    }
}
