//! Docker's credential helpers: programs that keep credentials, and are asked as docker asks them.

use std::io::{self, Read as _, Write as _};
use std::process::{Child, Command, ExitStatus, Stdio};

/// Most bytes of an answer: a name and a token.
const ANSWER_MAX: u64 = 64 * 1024;

/// What came of a question.
pub(super) struct Answer {
    pub status: ExitStatus,
    /// May hold a secret.
    pub said: Vec<u8>,
}

/// Runs a helper with `input`, and waits as long as it takes: it may ask a person.
///
/// # Errors
/// It cannot be run, or answers without end.
pub(super) fn ask(program: &str, verb: &str, input: &str) -> io::Result<Answer> {
    let mut child = Command::new(program)
        .arg(verb)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()?;
    match asked(&mut child, input) {
        Ok(said) => Ok(Answer { status: child.wait()?, said }),
        Err(error) => {
            // It may have ended by itself meanwhile.
            drop(child.kill());
            child.wait()?;
            Err(error)
        }
    }
}

fn asked(child: &mut Child, input: &str) -> io::Result<Vec<u8>> {
    let sent = child.stdin.take().map_or(Ok(()), |mut stdin| stdin.write_all(input.as_bytes()));
    match sent {
        // One that needs nothing of it may have ended before it was asked: what it says counts.
        Err(error) if error.kind() != io::ErrorKind::BrokenPipe => return Err(error),
        _ => {}
    }
    let mut said = Vec::new();
    if let Some(stdout) = child.stdout.take() {
        stdout.take(ANSWER_MAX + 1).read_to_end(&mut said)?;
    }
    match said.len() as u64 > ANSWER_MAX {
        true => Err(io::Error::other(format!("it answers with more than {ANSWER_MAX} bytes"))),
        false => Ok(said),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_that_does_not_listen_is_heard_and_one_that_never_ends_is_not() {
        // More than a pipe takes: what is asked cannot have been read.
        let answer = ask("echo", "get", &"x".repeat(1 << 20)).unwrap();
        assert!(answer.status.success());
        assert_eq!(answer.said, b"get\n");
        let error = ask("yes", "get", "hub").err().unwrap().to_string();
        assert!(error.contains("more than 65536 bytes"), "{error}");
        assert_eq!(ask("skep-none", "get", "hub").err().unwrap().kind(), io::ErrorKind::NotFound);
    }
}
