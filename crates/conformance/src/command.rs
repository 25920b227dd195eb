//! Another implementation: a command that answers one JSON line with one JSON line.

use std::io::{BufRead as _, BufReader, Write as _};
use std::process::{Child, ChildStdin, Stdio};
use std::sync::mpsc::{Receiver, RecvTimeoutError, channel};
use std::time::Duration;

use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::run::{Answer, Implementation};

/// How long an answer may take.
const PATIENCE: Duration = Duration::from_secs(10);

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
        let (sender, lines) = channel();
        std::thread::spawn(move || {
            for line in BufReader::new(output).lines() {
                if sender.send(line).is_err() {
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
        let line: Line = serde_json::from_str(&text)
            .map_err(|error| format!("its answer is not as it should be: {error}: {text}"))?;
        if line.id != self.asked {
            return Err(format!("it answered question {}, asked was {}", line.id, self.asked));
        }
        match line {
            Line { unsupported: true, .. } => Ok(Answer::Unsupported),
            Line { ok: Some(value), error: None, .. } => Ok(Answer::Ok(value)),
            Line { ok: None, error: Some(code), message, at, .. } => {
                Ok(Answer::Refused { code, message: message.unwrap_or_default(), at })
            }
            _ => Err(format!("it should answer with either ok or error: {text}")),
        }
    }
}

impl Implementation for Command {
    fn answer(&mut self, op: &str, input: &Value) -> Result<Answer, String> {
        if self.broken {
            return Err("not asked: it failed before".to_owned());
        }
        let answer = self.ask(op, input);
        self.broken = answer.is_err();
        answer
    }
}

impl Drop for Command {
    fn drop(&mut self) {
        _ = self.child.kill();
        _ = self.child.wait();
    }
}
