//! Another implementation: a command that answers one JSON line with one JSON line.

use std::io::{BufRead, BufReader, Read as _, Write as _};
use std::os::unix::process::CommandExt as _;
use std::process::{Child, ChildStdin, ChildStdout, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, SyncSender, channel, sync_channel};
use std::time::Duration;

use rustix::process::{Pid, Signal, kill_process_group};
use serde::{Deserialize, Serialize};
use serde_json::Value;
use skep_object::shown;

use crate::run::{Answer, Implementation};

/// How long an answer may take, from the question's first byte on.
const PATIENCE: Duration = Duration::from_secs(10);
/// Most bytes of an answer, without the end of its line: `conformance.md` says so.
const ANSWER_MAX: usize = 16 * 1024 * 1024;
/// Characters of an answer that are shown where it is wrong.
const SHOWN: usize = 200;

/// A running implementation. It is killed when dropped, with all that it started.
pub struct Command {
    child: Child,
    questions: Sender<Vec<u8>>,
    /// How many questions were written whole.
    taken: Arc<AtomicU64>,
    /// Lines, or why there is none.
    lines: Receiver<Result<String, String>>,
    asked: u64,
    patience: Duration,
    broken: bool,
}

/// The processes of an implementation: it and those that it started. They are a process group of their own, which the
/// signals of a terminal do not reach.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Group(Pid);

impl Group {
    /// Kills them.
    pub fn kill(self) {
        // They may have ended by themselves.
        _ = kill_process_group(self.0, Signal::KILL);
    }
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
            .process_group(0)
            .spawn()?;
        let gone = || std::io::Error::other("its input and output are not there");
        let (input, output) = (child.stdin.take(), child.stdout.take());
        let (input, output) = (input.ok_or_else(gone)?, output.ok_or_else(gone)?);
        // One line waits at most: what it says unasked stays in its pipe.
        let (sender, lines) = sync_channel(0);
        let (questions, asked) = channel();
        let taken = Arc::new(AtomicU64::new(0));
        // It may stop reading in the middle of a question, and may answer before its end.
        let (count, deaf) = (Arc::clone(&taken), sender.clone());
        std::thread::spawn(move || write(input, &asked, &count, &deaf));
        std::thread::spawn(move || read(output, &sender));
        Ok(Self { child, questions, taken, lines, asked: 0, patience: PATIENCE, broken: false })
    }

    /// Its processes.
    #[must_use]
    pub fn group(&self) -> Group {
        Group(Pid::from_child(&self.child))
    }

    fn ask(&mut self, op: &str, input: &Value) -> Result<Answer, String> {
        self.asked += 1;
        let question = Question { id: self.asked, op: op.to_owned(), input: input.clone() };
        let mut line = serde_json::to_vec(&question).map_err(|error| error.to_string())?;
        line.push(b'\n');
        // Where nobody writes it any more, the reason is waiting.
        _ = self.questions.send(line);
        let seconds = self.patience.as_secs_f64();
        let text = self.lines.recv_timeout(self.patience).map_err(|error| match error {
            RecvTimeoutError::Disconnected => ENDED.to_owned(),
            RecvTimeoutError::Timeout if self.taken.load(Ordering::Relaxed) < self.asked => {
                format!("it did not read the question within {seconds} s")
            }
            RecvTimeoutError::Timeout => format!("no answer within {seconds} s"),
        })??;
        let bad =
            |error: String| format!("its answer is not as it should be: {error}: {}", cut(&text));
        let line: Value = serde_json::from_str(&text).map_err(|error| bad(error.to_string()))?;
        if !line.is_object() {
            return Err(bad("it is no object".to_owned()));
        }
        let line: Line = serde_json::from_value(line).map_err(|error| bad(error.to_string()))?;
        if line.id != self.asked {
            return Err(format!("it answered question {}, asked was {}", line.id, self.asked));
        }
        match line {
            Line { unsupported: true, .. } => Ok(Answer::Unsupported),
            Line { ok: Some(value), error: None, .. } => Ok(Answer::Ok(value)),
            Line { ok: None, error: Some(code), message, at, .. } => {
                let [code, message] =
                    [code, message.unwrap_or_default()].map(|text| shown(&text).into_owned());
                Ok(Answer::Refused { code, message, at })
            }
            _ => Err(format!("it should answer with either ok or error: {}", cut(&text))),
        }
    }
}

/// Why there is no answer of what has ended.
const ENDED: &str = "it ended without an answer";

/// Writes questions, until it takes none any more.
fn write(
    mut input: ChildStdin,
    questions: &Receiver<Vec<u8>>,
    taken: &AtomicU64,
    lines: &SyncSender<Result<String, String>>,
) {
    for question in questions {
        if let Err(error) = input.write_all(&question).and_then(|()| input.flush()) {
            // Nobody may wait for it.
            _ = lines.send(Err(format!("it takes no questions any more: {error}")));
            return;
        }
        taken.fetch_add(1, Ordering::Relaxed);
    }
}

/// Reads lines, until its output ends or nobody waits for them.
fn read(output: ChildStdout, lines: &SyncSender<Result<String, String>>) {
    let mut output = BufReader::new(output);
    loop {
        let line = match next_line(&mut output) {
            Ok(Some(line)) => Ok(line),
            Ok(None) => Err(ENDED.to_owned()),
            Err(error) => Err(format!("its answer cannot be read: {error}")),
        };
        let is_last = line.is_err();
        if lines.send(line).is_err() || is_last {
            return;
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
            self.group().kill();
        }
        answer
    }
}

impl Drop for Command {
    fn drop(&mut self) {
        self.group().kill();
        // Not before: until it is waited for its id is its own, also for those who have its group.
        _ = self.child.wait();
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::process::ExitStatusExt as _;

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
        // By SIGKILL, or by SIGPIPE where it wrote on before that came.
        let signal = command.child.wait().unwrap().signal();
        assert!(matches!(signal, Some(9 | 13)), "it is ended: {signal:?}");
        let why = command.answer("name", &json!({})).unwrap_err();
        assert_eq!(why, "not asked: it failed before");
    }

    #[test]
    fn a_command_that_does_not_read_a_large_question_is_left() {
        let mut command = Command::start("sleep 60").unwrap();
        command.patience = Duration::from_millis(100);
        let question = json!({"text": "x".repeat(1 << 20)}); // more than a pipe holds
        let why = command.answer("name", &question).unwrap_err();
        assert_eq!(why, "it did not read the question within 0.1 s");
        assert_eq!(command.child.wait().unwrap().signal(), Some(9), "it is killed");
    }

    #[test]
    fn an_answer_may_come_before_the_end_of_its_question() {
        let line = r#"sh -c "echo '{\"id\":1,\"ok\":{}}'; exec sleep 60""#;
        let mut command = Command::start(line).unwrap();
        let question = json!({"text": "x".repeat(1 << 20)});
        assert_eq!(command.answer("name", &question), Ok(Answer::Ok(json!({}))));
        command.patience = Duration::from_millis(100);
        assert!(command.answer("name", &json!({})).unwrap_err().starts_with("it did not read"));
    }

    #[test]
    fn what_a_command_started_ends_with_it() {
        let mut command = Command::start("sh -c 'sleep 60 & read question; wait'").unwrap();
        command.patience = Duration::from_millis(100);
        assert_eq!(command.answer("name", &json!({})).unwrap_err(), "no answer within 0.1 s");
        // Its output ends when the last that holds it has.
        let end = command.lines.recv_timeout(Duration::from_secs(20));
        assert_eq!(end, Ok(Err(ENDED.to_owned())));
    }

    #[test]
    fn of_a_wrong_answer_the_beginning_is_shown() {
        let mut command =
            Command::start("sh -c 'read question; yes x | head -c 9999 | tr -d \"\\n\"'").unwrap();
        let why = command.answer("name", &json!({})).unwrap_err();
        assert!(why.starts_with("its answer is not as it should be: ") && why.len() < 400, "{why}");
    }
}
