//! Another implementation: a command that answers one JSON line with one JSON line.

use std::io::{BufRead, BufReader, Read as _, Write as _};
use std::process::{Child, ChildStdin, Stdio};
use std::sync::mpsc::{Receiver, RecvTimeoutError, sync_channel};
use std::time::Duration;

use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::run::{Answer, Implementation};

/// How long an answer may take.
const PATIENCE: Duration = Duration::from_secs(10);
/// Most bytes of an answer, without the end of its line: `conformance.md` says so.
const ANSWER_MAX: usize = 16 * 1024 * 1024;
/// Characters of an answer that are shown where it is wrong.
const SHOWN: usize = 200;

/// A running implementation. It is killed when dropped.
pub struct Command {
    child: Child,
    input: ChildStdin,
    lines: Receiver<std::io::Result<String>>,
    asked: u64,
    broken: bool,
}

/// A question, as it is written on a line.
#[derive(Debug, Serialize, Deserialize)]
pub struct Question {
    /// The answer has the same.
    pub id: u64,
    /// The operation.
    pub op: String,
    /// What it is given.
    pub input: Value,
}

/// An answer, as it is written on a line.
#[derive(Debug, Default, Serialize, Deserialize)]
pub struct Line {
    /// Of the question.
    pub id: u64,
    /// What came out.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ok: Option<Value>,
    /// The code of a refusal.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub error: Option<String>,
    /// Why, for people.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub message: Option<String>,
    /// Line and column of the mistake.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub at: Option<[usize; 2]>,
    /// No such operation.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub unsupported: bool,
}

impl Line {
    /// An answer to the question `id`.
    #[must_use]
    pub fn of(id: u64, answer: Answer) -> Self {
        match answer {
            Answer::Ok(value) => Self { id, ok: Some(value), ..Self::default() },
            Answer::Unsupported => Self { id, unsupported: true, ..Self::default() },
            Answer::Refused { code, message, at } => {
                Self { id, error: Some(code), message: Some(message), at, ..Self::default() }
            }
        }
    }
}

impl Command {
    /// Starts a command line with the shell.
    ///
    /// # Errors
    /// It cannot be started.
    pub fn start(line: &str) -> std::io::Result<Self> {
        let mut child = std::process::Command::new("sh")
            .args(["-c", &format!("exec {line}")])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()?;
        let gone = || std::io::Error::other("its input and output are not there");
        let (input, output) = (child.stdin.take(), child.stdout.take());
        let (input, output) = (input.ok_or_else(gone)?, output.ok_or_else(gone)?);
        // One line waits at most: what it says unasked stays in its pipe.
        let (sender, lines) = sync_channel(0);
        std::thread::spawn(move || {
            let mut output = BufReader::new(output);
            while let Some(line) = next_line(&mut output).transpose() {
                let is_last = line.is_err();
                if sender.send(line).is_err() || is_last {
                    return;
                }
            }
        });
        Ok(Self { child, input, lines, asked: 0, broken: false })
    }

    fn ask(&mut self, op: &str, input: &Value) -> Result<Answer, String> {
        self.asked += 1;
        let question = Question { id: self.asked, op: op.to_owned(), input: input.clone() };
        let mut line = serde_json::to_vec(&question).map_err(|error| error.to_string())?;
        line.push(b'\n');
        let sent = self.input.write_all(&line).and_then(|()| self.input.flush());
        sent.map_err(|error| format!("it takes no questions any more: {error}"))?;
        let answer = self.lines.recv_timeout(PATIENCE).map_err(|error| match error {
            RecvTimeoutError::Timeout => format!("no answer within {} s", PATIENCE.as_secs()),
            RecvTimeoutError::Disconnected => "it ended without an answer".to_owned(),
        })?;
        let text = answer.map_err(|error| format!("its answer cannot be read: {error}"))?;
        let line: Line = serde_json::from_str(&text).map_err(|error| {
            format!("its answer is not as it should be: {error}: {}", cut(&text))
        })?;
        if line.id != self.asked {
            return Err(format!("it answered question {}, asked was {}", line.id, self.asked));
        }
        match line {
            Line { unsupported: true, .. } => Ok(Answer::Unsupported),
            Line { ok: Some(value), error: None, .. } => Ok(Answer::Ok(value)),
            Line { ok: None, error: Some(code), message, at, .. } => {
                Ok(Answer::Refused { code, message: message.unwrap_or_default(), at })
            }
            _ => Err(format!("it should answer with either ok or error: {}", cut(&text))),
        }
    }
}

/// The next line, without its end; none at the end of the output.
fn next_line(output: &mut impl BufRead) -> std::io::Result<Option<String>> {
    let mut line = Vec::new();
    // With room for the end of the line.
    output.take(ANSWER_MAX as u64 + 1).read_until(b'\n', &mut line)?;
    if line.is_empty() {
        return Ok(None);
    }
    line.pop_if(|byte| *byte == b'\n');
    if line.len() > ANSWER_MAX {
        let limit = ANSWER_MAX >> 20;
        return Err(std::io::Error::other(format!("a line has more than {limit} MiB")));
    }
    String::from_utf8(line).map(Some).map_err(std::io::Error::other)
}

/// The beginning of an answer, for people.
fn cut(text: &str) -> String {
    match text.char_indices().nth(SHOWN) {
        None => text.to_owned(),
        Some((end, _)) => format!("{}… ({} bytes)", &text[..end], text.len()),
    }
}

impl Implementation for Command {
    fn answer(&mut self, op: &str, input: &Value) -> Result<Answer, String> {
        if self.broken {
            return Err("not asked: it failed before".to_owned());
        }
        let answer = self.ask(op, input);
        self.broken = answer.is_err();
        if self.broken {
            self.end();
        }
        answer
    }
}

impl Command {
    fn end(&mut self) {
        // It may have ended by itself.
        _ = self.child.kill();
        _ = self.child.wait();
    }
}

impl Drop for Command {
    fn drop(&mut self) {
        self.end();
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn lines(bytes: &[u8]) -> Vec<Result<Option<String>, String>> {
        let mut output = bytes;
        let next = |_| next_line(&mut output).map_err(|error| error.to_string());
        (0..3).map(next).collect()
    }

    #[test]
    fn a_line_has_an_end_and_a_limit() {
        let text = |text: &str| Ok(Some(text.to_owned()));
        assert_eq!(lines(b"a\n\nb"), [text("a"), text(""), text("b")]);
        assert_eq!(lines(b"a\n")[1], Ok(None));
        let long = vec![b'x'; ANSWER_MAX];
        let whole = lines(&[&long, b"\nb".as_slice()].concat());
        assert!(whole[0].as_ref().is_ok_and(|line| line.as_ref().unwrap().len() == ANSWER_MAX));
        assert_eq!(whole[1], text("b"));
        let longer = lines(&[&long, b"x\n".as_slice()].concat());
        assert_eq!(longer[0], Err("a line has more than 16 MiB".to_owned()));
    }

    #[test]
    fn a_command_that_never_ends_its_line_is_left() {
        let mut command =
            Command::start(r#"sh -c 'read question; exec tr "\0" x < /dev/zero'"#).unwrap();
        let why = command.answer("name", &json!({})).unwrap_err();
        assert_eq!(why, "its answer cannot be read: a line has more than 16 MiB");
        assert!(command.child.try_wait().unwrap().is_some(), "it is killed");
        let why = command.answer("name", &json!({})).unwrap_err();
        assert_eq!(why, "not asked: it failed before");
    }

    #[test]
    fn of_a_wrong_answer_the_beginning_is_shown() {
        let mut command =
            Command::start("sh -c 'read question; yes x | head -c 9999 | tr -d \"\\n\"'").unwrap();
        let why = command.answer("name", &json!({})).unwrap_err();
        assert!(why.starts_with("its answer is not as it should be: ") && why.len() < 400, "{why}");
    }
}
