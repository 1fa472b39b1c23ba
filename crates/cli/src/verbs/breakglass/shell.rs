//! A shell whose input and output are kept.
//!
//! On a terminal util-linux's `script` stands between, where there is one: it keeps a terminal what it is and
//! logs both ways. Else lines go through here.

use std::fs::File;
use std::io::{BufRead, IsTerminal, Read, Write};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::{Arc, Mutex, PoisonError, mpsc};
use std::time::{Duration, Instant};

use evenkeel_api::{Client, RecordingOrder, UrlAnswer};
use evenkeel_drivers::image::{self, Software};
use evenkeel_drivers::process;
use rustix::process::Signal;

use crate::failure::{Failure, Kind};
use crate::find::Context;
use crate::print;

/// Between looks whether it goes on, and whether there is news to be kept.
const STEP: Duration = Duration::from_millis(50);
/// What is new is sent after this at the latest.
const SEND_STEP: Duration = Duration::from_millis(500);
/// Most bytes of either sent at a time: an order's body has a limit.
const PART_MAX_BYTES: usize = 12 << 10;
/// The last words of a shell that ended are taken within this.
const WORDS_MAX: Duration = Duration::from_secs(2);

/// What is new since it was sent last.
#[derive(Clone, Default)]
struct Kept(Arc<Mutex<RecordingOrder>>);

impl Kept {
    fn typed(&self, text: &str) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).typed.push_str(text);
    }

    fn shown(&self, bytes: &[u8]) {
        let text = String::from_utf8_lossy(bytes);
        self.0.lock().unwrap_or_else(PoisonError::into_inner).shown.push_str(&text);
    }

    /// Sends what is new, in parts.
    fn send(&self, client: &Client, id: u32) -> Result<(), Failure> {
        loop {
            let mut new = self.0.lock().unwrap_or_else(PoisonError::into_inner);
            let part = RecordingOrder { typed: take(&mut new.typed), shown: take(&mut new.shown) };
            drop(new);
            if part == RecordingOrder::default() {
                return Ok(());
            }
            client.record(id, &part)?;
        }
    }
}

/// The first part of a text, which is taken out of it.
fn take(text: &mut String) -> String {
    let mut at = text.len().min(PART_MAX_BYTES);
    while !text.is_char_boundary(at) {
        at -= 1;
    }
    let rest = text.split_off(at);
    std::mem::replace(text, rest)
}

/// Runs a shell on a service until it ends, or its time is over.
pub fn run(
    context: &Context,
    client: &Client,
    id: u32,
    (to, system): (&UrlAnswer, bool),
    lasts: Duration,
) -> Result<(), Failure> {
    let end = Instant::now() + lasts;
    let kept = Kept::default();
    let (program, path) = program(context, system);
    let environment = environment(to, &path);
    let script = Path::new("/usr/bin/script");
    let terminal = std::io::stdin().is_terminal() && std::io::stdout().is_terminal();
    let (mut child, mut logs, words) = if terminal && script.exists() {
        let logs = Logs::new(id)?;
        let mut command = Command::new(script);
        command.args(["--quiet", "--flush", "--log-in"]).arg(logs.dir.join("in"));
        command.arg("--log-out").arg(logs.dir.join("out")).args(["--command", &program]);
        command.env_clear().envs(environment);
        (command.spawn()?, Some(logs), None)
    } else {
        let (child, words) = piped(&program, environment, &kept)?;
        (child, None, Some(words))
    };
    let (mut sent, mut late) = (Instant::now(), false);
    let mut failed = None;
    while child.try_wait()?.is_none() {
        std::thread::sleep(STEP);
        if sent.elapsed() >= SEND_STEP {
            sent = Instant::now();
            logs.iter_mut().for_each(|logs| logs.read(&kept));
            failed = kept.send(client, id).err();
            let lives = client.act(id).map(|act| act.lives());
            late = !lives.unwrap_or(true);
        }
        if Instant::now() >= end || late || failed.is_some() {
            late = true;
            // What cannot be recorded is not done.
            end_of(&mut child);
            break;
        }
    }
    let _ = child.wait();
    logs.iter_mut().for_each(|logs| logs.read(&kept));
    if let Some(words) = words {
        // Whoever reads its last words has the other end until then.
        let _ = words.recv_timeout(WORDS_MAX);
    }
    kept.send(client, id)?;
    if let Some(failure) = failed {
        return Err(failure);
    }
    if late {
        print::note("its time is over");
    }
    Ok(())
}

/// Has a shell end. On a terminal, whoever stands between puts that back to what it was.
fn end_of(child: &mut Child) {
    if let Ok(descriptor) = process::pidfd(child.id()) {
        let asked = process::signal(&descriptor, Signal::TERM);
        if asked.is_ok() && process::wait_gone(&descriptor, WORDS_MAX) {
            return;
        }
    }
    let _ = child.kill();
}

/// What runs, as a shell takes it, and where programs are.
fn program(context: &Context, system: bool) -> (String, String) {
    let own = std::env::var("PATH").unwrap_or_else(|_| "/usr/bin:/bin".to_owned());
    let image = image::any(Software::Postgres, &context.data().join("images")).ok();
    let path = image.map_or(own.clone(), |image| format!("{}:{own}", image.bin.display()));
    (if system { "/bin/sh -i" } else { "psql" }.to_owned(), path)
}

fn environment(to: &UrlAnswer, path: &str) -> Vec<(String, String)> {
    let port = to.port.to_string();
    let own = [
        ("PATH", path),
        ("PGHOST", to.host.as_str()),
        ("PGPORT", &port),
        ("PGUSER", &to.user),
        ("PGPASSWORD", &to.password),
        ("PGDATABASE", &to.database),
        // A pager would be recorded with all that it draws.
        ("PAGER", "cat"),
    ];
    let mut all: Vec<(String, String)> =
        own.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect();
    for name in ["HOME", "TERM", "LANG"] {
        all.extend(std::env::var(name).ok().map(|value| (name.to_owned(), value)));
    }
    all
}

/// Runs it with lines from here and its words to here, both kept.
fn piped(
    program: &str,
    environment: Vec<(String, String)>,
    kept: &Kept,
) -> Result<(Child, mpsc::Receiver<()>), Failure> {
    let mut command = Command::new("/bin/sh");
    command.args(["-c", &format!("exec {}", program.trim_end_matches(" -i"))]);
    command.env_clear().envs(environment);
    command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = command.spawn().map_err(|error| {
        Failure::new(Kind::Failed, format!("{program} cannot be run ({error})"))
    })?;
    let (input, lines) = (child.stdin.take(), kept.clone());
    std::thread::spawn(move || {
        let Some(mut input) = input else { return };
        for line in std::io::stdin().lock().lines() {
            let Ok(line) = line else { return };
            lines.typed(&format!("{line}\n"));
            if writeln!(input, "{line}").and_then(|()| input.flush()).is_err() {
                return;
            }
        }
    });
    let (ended, words) = mpsc::channel();
    let copy = |from: Option<Box<dyn Read + Send>>, mut to: Box<dyn Write + Send>| {
        let (kept, ended) = (kept.clone(), ended.clone());
        std::thread::spawn(move || {
            let _ended: mpsc::Sender<()> = ended;
            let (Some(mut from), mut bytes) = (from, [0; 4096]) else { return };
            while let Ok(read @ 1..) = from.read(&mut bytes) {
                kept.shown(&bytes[..read]);
                let _ = to.write_all(&bytes[..read]).and_then(|()| to.flush());
            }
        });
    };
    let read = |from| Box::new(from) as Box<dyn Read + Send>;
    copy(child.stdout.take().map(read), Box::new(std::io::stdout()));
    let read = |from| Box::new(from) as Box<dyn Read + Send>;
    copy(child.stderr.take().map(read), Box::new(std::io::stderr()));
    Ok((child, words))
}

/// The files that `script` writes, which only this user can read; removed when this goes.
struct Logs {
    dir: std::path::PathBuf,
    input: Option<File>,
    output: Option<File>,
    /// Keys of a line that has not ended yet.
    keys: Vec<u8>,
}

impl Logs {
    fn new(id: u32) -> Result<Self, Failure> {
        use std::os::unix::fs::DirBuilderExt;
        let name = format!("evenkeel-breakglass-{id}-{}", std::process::id());
        let dir = std::env::temp_dir().join(name);
        std::fs::DirBuilder::new().mode(0o700).create(&dir)?;
        Ok(Self { dir, input: None, output: None, keys: Vec::new() })
    }

    fn read(&mut self, kept: &Kept) {
        let new = |file: &mut Option<File>, path: &Path| {
            let mut bytes = Vec::new();
            if file.is_none() {
                *file = File::open(path).ok();
            }
            if let Some(file) = file {
                let _ = file.read_to_end(&mut bytes);
            }
            bytes
        };
        let shown = new(&mut self.output, &self.dir.join("out"));
        if !shown.is_empty() {
            kept.shown(&shown);
        }
        self.keys.extend(new(&mut self.input, &self.dir.join("in")));
        let end = self.keys.iter().rposition(|key| matches!(key, b'\r' | b'\n'));
        if let Some(end) = end {
            let whole: Vec<u8> = self.keys.drain(..=end).collect();
            kept.typed(&typed(&whole));
        }
    }
}

impl Drop for Logs {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.dir);
    }
}

/// Lines of keys as they were meant: erased characters and keys that move about are left out.
fn typed(keys: &[u8]) -> String {
    let (mut lines, mut line) = (String::new(), String::new());
    let text = String::from_utf8_lossy(keys);
    let mut keys = text.chars();
    while let Some(key) = keys.next() {
        match key {
            '\r' | '\n' => {
                // What `script` itself writes into its log.
                if !line.starts_with("Script started on") && !line.starts_with("Script done on") {
                    lines.push_str(line.trim_end());
                    lines.push('\n');
                }
                line.clear();
            }
            '\u{7f}' | '\u{8}' => drop(line.pop()),
            // The line is given up.
            '\u{3}' | '\u{15}' => line.clear(),
            '\u{1b}' => {
                // A sequence ends with a letter or a tilde; its second character may be a bracket.
                let mut second = true;
                for next in keys.by_ref() {
                    let opens = second && (next == '[' || next == 'O');
                    second = false;
                    if !opens && (next.is_ascii_alphabetic() || next == '~') {
                        break;
                    }
                }
            }
            key if key.is_control() => {}
            key => line.push(key),
        }
    }
    lines
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_are_as_they_were_meant() {
        assert_eq!(typed(b"SELECT 2\x7f1;\r"), "SELECT 1;\n");
        assert_eq!(typed(b"ab\x1b[A\x1b[3~c\r"), "abc\n");
        assert_eq!(typed(b"wrong\x03right\r"), "right\n");
        assert_eq!(typed("Script started on Monday\nä\r".as_bytes()), "ä\n");
    }

    #[test]
    fn parts_end_between_characters() {
        let mut text = "ä".repeat(PART_MAX_BYTES);
        let mut all = String::new();
        while !text.is_empty() {
            let part = take(&mut text);
            assert!(!part.is_empty() && part.len() <= PART_MAX_BYTES);
            all.push_str(&part);
        }
        assert_eq!(all, "ä".repeat(PART_MAX_BYTES));
    }
}
