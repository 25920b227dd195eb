//! `skep conformance`.

use std::io::BufRead as _;
use std::path::PathBuf;
use std::time::Instant;

use clap::Args;
use serde::Serialize;
use skep_conformance::command::{Line, Question};
use skep_conformance::ours::unread;
use skep_conformance::{Command, Implementation, Ours, Report, load, run};
use skep_spec::json;

use crate::error::{Context as _, Error, Kind, Result};
use crate::output::{Output, table};
use crate::passing::Started;

/// Hold an implementation of the standard against its vectors
///
/// Ours, or any command that answers one JSON line with one JSON line, as spec/conformance.md says. Exit status 1: some
/// vector failed.
#[derive(Debug, Args)]
pub struct Conformance {
    /// The command of another implementation
    #[arg(long, value_name = "CMD", conflicts_with = "answer")]
    r#impl: Option<String>,
    /// The folder of the vectors
    #[arg(long, value_name = "DIR", default_value = "spec/vectors")]
    vectors: PathBuf,
    /// Answer questions on standard input, as such a command
    #[arg(long)]
    answer: bool,
}

#[derive(Serialize)]
struct Answer {
    parts: Vec<Row>,
    failures: Vec<String>,
    seconds: f64,
}

#[derive(Serialize)]
struct Row {
    part: u32,
    name: &'static str,
    passed: usize,
    failed: usize,
    left_out: usize,
}

/// The parts of the standard, by their titles.
const PARTS: [&str; 12] = [
    "names, versions, references",
    "the manifest",
    "the OCI mapping",
    "object facts",
    "requirements",
    "permissions",
    "outputs",
    "the life of a service",
    "signatures, trust, rotation, channels",
    "attestations",
    "air-gap archives",
    "registries of values",
];

impl Conformance {
    /// Runs it.
    ///
    /// # Errors
    /// A vector failed, or cannot be read.
    pub fn run(self, output: &Output) -> Result<()> {
        if self.answer {
            return answer(output);
        }
        let clock = Instant::now();
        let parts = load(&self.vectors).map_err(|error| {
            let message = "can't read the vectors of the standard";
            Error::caused(Kind::Usage, message, &error).hint("name their folder with --vectors")
        })?;
        let report = match &self.r#impl {
            None => run(&parts, &mut Ours),
            Some(line) => {
                let start = || Command::start(line).context(|| format!("can't start '{line}'"));
                let (ends_too, mut command) = Started::by(start, Command::group)?;
                let report = run(&parts, &mut command);
                drop(ends_too); // while its id is its own
                report
            }
        };
        let answer = Answer::of(report, clock.elapsed().as_secs_f64());
        output.answer(&answer, || answer.text());
        match answer.failures.len() {
            0 => Ok(()),
            count => Err(Error::new(Kind::Failed, format!("{count} vectors failed"))),
        }
    }
}

impl Answer {
    fn of(report: Report, seconds: f64) -> Self {
        let name = |part: u32| PARTS.get((part as usize).wrapping_sub(1)).copied().unwrap_or("?");
        let rows = report.parts.into_iter().map(|(part, counts)| Row {
            part,
            name: name(part),
            passed: counts.passed,
            failed: counts.failed,
            left_out: counts.left_out,
        });
        Self { parts: rows.collect(), failures: report.failures, seconds }
    }

    fn text(&self) -> String {
        let rows = self.parts.iter().map(|row| {
            let Row { part, name, passed, failed, left_out } = row;
            let numbers = [passed, failed, left_out].map(ToString::to_string);
            let [passed, failed, left_out] = numbers;
            [part.to_string(), (*name).to_owned(), passed, failed, left_out]
        });
        let mut text = table(["PART", "", "PASSED", "FAILED", "LEFT OUT"], rows);
        for failure in &self.failures {
            text.push('\n');
            text.push_str(failure);
        }
        let passed: usize = self.parts.iter().map(|row| row.passed).sum();
        text.push_str(&format!("\n{passed} passed in {:.1} s", self.seconds));
        text
    }
}

/// Our implementation as a command: one line in, one line out, whatever the line is.
fn answer(output: &Output) -> Result<()> {
    for line in std::io::stdin().lock().split(b'\n') {
        let line = line.context(|| "can't read a question")?;
        let text = serde_json::to_string(&answered(&line));
        output.raw(&text.context(|| "can't write an answer")?);
    }
    Ok(())
}

fn answered(line: &[u8]) -> Line {
    let question = serde_json::from_slice(line).map_err(|error| error.to_string());
    match question.and_then(|line| json::typed(line).map_err(|error| error.to_string())) {
        Ok(Question { id, op, input }) => {
            Line::of(id, Ours.answer(&op, &input).unwrap_or_else(unread))
        }
        Err(error) => {
            let line: serde_json::Value = serde_json::from_slice(line).unwrap_or_default();
            let id = line.get("id").and_then(serde_json::Value::as_u64).unwrap_or_default();
            Line::of(id, unread(error))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::{PARTS, answered};

    #[test]
    fn a_line_that_is_no_question_is_answered() {
        for (line, id) in [
            (&b"\xff"[..], 0),
            (b"", 0),
            (b"[]", 0),
            (br#"{"id":7}"#, 7),
            (br#"[6,"name",{"kind":"package","text":"acme/exec"}]"#, 0),
            (br#"{"id":5,"op":"name","input":["package","acme/exec"]}"#, 5),
            (br#"{"id":8,"op":1,"input":{}}"#, 8),
            (br#"{"id":9,"op":"permissions.hooks","input":{"section":"xdp","target":""}}"#, 9),
        ] {
            let answer = answered(line);
            assert_eq!((answer.id, answer.error.as_deref()), (id, Some("question.malformed")));
        }
        assert!(answered(br#"{"id":1,"op":"nothing","input":{}}"#).unsupported);
    }

    #[test]
    fn the_parts_are_those_of_the_standard() {
        let folder = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("../../spec");
        let files = std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path());
        let first = files.filter_map(|file| {
            let text = std::fs::read_to_string(file).ok()?; // folders are none
            let (number, title) = text.lines().next()?.strip_prefix("# Part ")?.split_once(": ")?;
            Some((number.parse::<usize>().unwrap(), title.to_owned()))
        });
        let mut titles: Vec<_> = first.collect();
        titles.sort();
        assert_eq!(titles, (1..).zip(PARTS.map(str::to_owned)).collect::<Vec<_>>());
    }
}
