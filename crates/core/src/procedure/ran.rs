//! What came of a script, by its words and its end.

use serde::{Deserialize, Serialize};
use serde_json::Value as Json;

use crate::time::Span;

/// How a script's process ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ended {
    /// By itself, with this exit code; 128 and the signal's number where a signal ended it.
    Itself(i32),
    /// It was killed, as its time was over.
    Late,
    /// It was killed, as nobody wants it any more.
    Unwanted,
}

/// What came of a script.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Ran {
    /// Whether it did what it is for.
    pub ok: bool,
    /// What came of it, or why it failed, as a sentence.
    pub text: String,
    /// Its exit code; none where it did not end by itself.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub exit: Option<i32>,
    /// The JSON object that it answered with.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub answer: Option<Json>,
    /// Its standard output, where that is no answer; the end of it.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub output: String,
    /// Its standard error; the end of it.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub log: String,
    /// How long it took.
    pub took: Span,
}

impl Ran {
    /// It did not run, or not to its end.
    #[must_use]
    pub fn failed(text: impl Into<String>) -> Self {
        Self {
            ok: false,
            text: text.into(),
            exit: None,
            answer: None,
            output: String::new(),
            log: String::new(),
            took: Span(0),
        }
    }

    /// The end of what it said, for the journal: at most so many lines of its log and its output.
    #[must_use]
    pub fn evidence(&self, lines_max: usize) -> Vec<String> {
        const LINE_MAX_CHARS: usize = 300;
        let lines = self.output.lines().chain(self.log.lines()).filter(|line| !line.is_empty());
        let lines: Vec<&str> = lines.collect();
        let last = lines.iter().skip(lines.len().saturating_sub(lines_max));
        last.map(|line| line.chars().take(LINE_MAX_CHARS).collect()).collect()
    }
}

/// What a script's words and end come to.
#[must_use]
pub fn judge(ended: Ended, limit: Span, output: &str, log: &str, took: Span) -> Ran {
    let answer = answer(output);
    let text = |answer: &Json| answer["text"].as_str().map(str::to_owned);
    let says_ok = answer.as_ref().and_then(|answer| answer["ok"].as_bool());
    let mut ran = Ran { took, log: log.to_owned(), ..Ran::failed("") };
    (ran.ok, ran.text) = match (ended, &answer, says_ok) {
        (Ended::Late, _, _) => (false, format!("it was killed: it took longer than {limit}")),
        (Ended::Unwanted, _, _) => (false, "it was killed: nobody wants it any more".to_owned()),
        (Ended::Itself(0), None, _) => {
            (false, "its last line of output is no JSON object, as the contract has it".to_owned())
        }
        (Ended::Itself(0), Some(_), None) => {
            (false, "its answer has no `ok` that is true or false".to_owned())
        }
        (Ended::Itself(0), Some(said), Some(ok)) => {
            (ok, text(said).unwrap_or_else(|| if ok { "done" } else { "failed" }.to_owned()))
        }
        (Ended::Itself(code), said, _) => {
            let why = said.as_ref().and_then(text).map_or(String::new(), |why| format!(": {why}"));
            (false, format!("it ended with exit code {code}{why}"))
        }
    };
    if let Ended::Itself(code) = ended {
        ran.exit = Some(code);
    }
    if answer.is_none() {
        output.clone_into(&mut ran.output);
    }
    ran.answer = answer;
    ran
}

/// The JSON object that an output is, or that its last line is.
fn answer(output: &str) -> Option<Json> {
    let object = |text: &str| serde_json::from_str::<Json>(text).ok().filter(Json::is_object);
    object(output.trim()).or_else(|| object(output.trim_end().lines().next_back()?.trim()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_and_ends_are_judged_by_the_contract() {
        let judge = |ended, output: &str| judge(ended, Span::secs(9), output, "log", Span(1));
        let good = judge(Ended::Itself(0), "noise\n{\"ok\": true, \"text\": \"3 ended\"}\n");
        assert_eq!((good.ok, good.text.as_str(), good.output.as_str()), (true, "3 ended", ""));
        // All of the output may be the object, over many lines.
        assert!(judge(Ended::Itself(0), "{\n\"ok\": true\n}").ok);
        let cases = [
            (Ended::Itself(0), "done", "no JSON object"),
            (Ended::Itself(0), "[1]", "no JSON object"),
            (Ended::Itself(0), "{\"text\": \"?\"}", "no `ok`"),
            (Ended::Itself(0), "{\"ok\": false, \"text\": \"nothing there\"}", "nothing there"),
            (Ended::Itself(3), "{\"ok\": true, \"text\": \"why\"}", "exit code 3: why"),
            (Ended::Late, "{\"ok\": true}", "longer than 9"),
            (Ended::Unwanted, "", "nobody wants it"),
        ];
        for (ended, output, words) in cases {
            let ran = judge(ended, output);
            assert!(!ran.ok && ran.text.contains(words), "{ran:?}");
            assert_eq!(ran.log, "log");
        }
        assert_eq!(judge(Ended::Itself(0), "half a {").output, "half a {", "it is shown");
    }
}
