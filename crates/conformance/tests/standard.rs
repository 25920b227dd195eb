//! The text, the vectors and the code of the standard, held against each other.
#![allow(clippy::unwrap_used)]

mod rules;

use std::collections::BTreeSet;
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;

use serde_json::Value;
use skep_conformance::run::{self, run};
use skep_conformance::{Answer, Command, Implementation, Ours, Outcome, Report, load};

fn spec() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../spec")
}

fn report(implementation: &mut dyn Implementation) -> Report {
    run(&load(&spec().join("vectors")).unwrap(), implementation)
}

#[test]
fn no_rule_and_no_code_is_without_vectors() {
    let text = rules::Text::read(&spec()).unwrap();
    assert!(
        text.rules.len() > 150 && text.codes.len() > 70,
        "the text is not read as it should be"
    );
    let gaps = rules::gaps(&text, &load(&spec().join("vectors")).unwrap());
    assert!(gaps.is_empty(), "{} gaps:\n{}", gaps.len(), gaps.join("\n"));
}

#[test]
fn ours_passes_every_vector() {
    let report = report(&mut Ours);
    assert!(report.failures.is_empty(), "{}", report.failures.join("\n"));
    assert!(report.parts.values().all(|counts| counts.left_out == 0), "{:?}", report.parts);
}

#[test]
fn what_is_no_question_is_answered() {
    let much = serde_json::json!({"repeat": "AAAA", "times": u64::MAX});
    let odd = [serde_json::json!([]), serde_json::json!({"data": much, "section": ""})];
    for case in load(&spec().join("vectors")).unwrap().iter().flat_map(|part| &part.cases) {
        let answer = Ours.answer(&case.op, &Value::Null).unwrap();
        let is_told =
            matches!(&answer, Answer::Refused { code, .. } if code == "question.malformed");
        assert!(is_told, "{}: {answer:?}", case.op);
        for input in &odd {
            Ours.answer(&case.op, input).unwrap();
        }
    }
}

/// The promise is one second for whatever a hostile author writes; code that is not optimized may take ten.
#[test]
fn what_is_refused_is_refused_within_a_second() {
    let most = Duration::from_secs(if cfg!(debug_assertions) { 10 } else { 1 });
    let mut count = 0;
    for part in load(&spec().join("vectors")).unwrap() {
        for case in part.cases.iter().filter(|case| case.error.is_some()) {
            let before = on_cpu();
            Ours.answer(&case.op, &case.input).unwrap();
            let took = on_cpu() - before;
            assert!(took < most, "{}, '{}' took {took:?}", part.file, case.name);
            count += 1;
        }
    }
    assert!(count > 400, "{count} vectors that refuse");
}

/// How long this thread has run; the clock on the wall counts others too.
fn on_cpu() -> Duration {
    let text = std::fs::read_to_string("/proc/thread-self/schedstat").unwrap();
    Duration::from_nanos(text.split(' ').next().unwrap().parse().unwrap())
}

/// Written from the text alone, by another hand and in another language.
#[test]
fn the_second_implementation_passes_what_a_reader_needs() {
    let mut command =
        Command::start(&format!("/usr/bin/python3 {}", spec().join("verify.py").display()))
            .unwrap();
    let report = report(&mut command);
    assert!(report.failures.is_empty(), "{}", report.failures.join("\n"));
    for part in [1, 2, 3, 6, 9, 11] {
        let counts = report.parts[&part];
        assert!(counts.passed > 0 && counts.left_out == 0, "part {part}: {counts:?}");
    }
}

/// Whoever writes questions by hand is told of a slip, and asks on.
#[test]
fn the_second_implementation_answers_what_is_no_question_and_goes_on() {
    let deep = "[".repeat(100_000);
    let last = "{\"id\":2,\"op\":\"name\",\"input\":{\"kind\":\"package\",\"text\":\"a/b\"}}";
    let lines = ["{\"id\":1}", "{\"op\":7}", "[]", "{\"id\":3", "", &deep, last];
    let asked = [lines.join("\n").as_bytes(), b"\n\xff\n"].concat();
    let mut python = std::process::Command::new("/usr/bin/python3");
    let python = python.arg(spec().join("verify.py")).stdin(Stdio::piped()).stdout(Stdio::piped());
    let mut python = python.spawn().unwrap();
    python.stdin.take().unwrap().write_all(&asked).unwrap();
    let output = python.wait_with_output().unwrap();
    let answers = String::from_utf8(output.stdout).unwrap();
    let answers: Vec<Value> =
        answers.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    let told: Vec<_> = answers.iter().map(|one| (&one["id"], &one["error"])).collect();
    let malformed = Value::from("question.malformed");
    let (none, one, two) = (Value::Null, Value::from(1), Value::from(2));
    let slip = (&none, &malformed);
    let all = [(&one, &malformed), slip, slip, slip, slip, slip, (&two, &none), slip];
    assert_eq!(told, all);
}

/// Every copy of `value` with one member more, and where.
fn with_more(value: &Value, path: &str) -> Vec<(String, Value)> {
    let mut out = Vec::new();
    let inside: Vec<(String, &Value)> = match value {
        Value::Object(members) => {
            members.iter().map(|(key, member)| (key.clone(), member)).collect()
        }
        Value::Array(items) => {
            items.iter().enumerate().map(|(at, item)| (at.to_string(), item)).collect()
        }
        _ => Vec::new(),
    };
    for (key, member) in inside {
        for (path, more) in with_more(member, &format!("{path}/{key}")) {
            let mut copy = value.clone();
            *copy.pointer_mut(&format!("/{key}")).unwrap() = more;
            out.push((path, copy));
        }
    }
    if let Value::Object(members) = value {
        let mut copy = members.clone();
        copy.insert("ghost".to_owned(), "undo".into());
        out.push((path.to_owned(), Value::Object(copy)));
    }
    out
}

#[test]
fn a_vector_notices_what_an_answer_tells_besides() {
    let mut count = 0;
    for part in load(&spec().join("vectors")).unwrap() {
        for case in &part.cases {
            let Some(wanted) = &case.ok else { continue };
            for (path, more) in with_more(wanted, "") {
                let outcome = run::judge(case, &Answer::Ok(more));
                let may = case.op == "object.facts" && !path.ends_with("/writes");
                let said = format!("{}, '{}', {path}: {outcome:?}", part.file, case.name);
                assert_eq!(matches!(outcome, Outcome::Passed), may, "{said}");
                count += usize::from(!may);
            }
        }
    }
    assert!(count > 400, "{count} members more");
}

/// Every word in backticks.
fn words(text: &str) -> Vec<&str> {
    text.split('`').skip(1).step_by(2).flat_map(str::split_whitespace).collect()
}

#[test]
fn the_tables_of_the_text_are_the_values() {
    let values = skep_conformance::values::all();
    let page = std::fs::read_to_string(spec().join("12-registries.md")).unwrap();
    let part = |title: &str| {
        let (_, rest) = page.split_once(&format!("## {title}\n")).unwrap();
        rest.split("\n## ").next().unwrap()
    };
    let list = |name: &str| -> Vec<&str> {
        let values = values.pointer(name).and_then(Value::as_array).unwrap();
        values.iter().map(|value| value.as_str().unwrap()).collect()
    };
    let (_, helpers) = part("GPL-only helpers").split_once("is added here.\n").unwrap();
    let helpers = words(helpers.split("\n\nFor one").next().unwrap());
    assert_eq!(helpers, list("/gpl-only/helpers"));
    let hooks = part("Kinds of hooks").split('.').next().unwrap();
    assert_eq!(words(hooks), list("/hooks"));
    let formats: BTreeSet<&str> = part("Field formats")
        .lines()
        .filter_map(|line| line.strip_prefix("| `")?.split('|').next())
        .flat_map(|cell| cell.split(['`', ',', ' ']))
        .filter(|word| !word.is_empty())
        .collect();
    assert_eq!(formats, list("/field-formats").into_iter().collect());
    let media = part("Media and artifact types");
    for value in values["media-types"].as_object().unwrap().values() {
        assert!(words(media).contains(&value.as_str().unwrap()), "{value}");
    }
}

#[test]
fn the_powers_of_the_text_are_the_values() {
    let values = skep_conformance::values::all();
    let page = std::fs::read_to_string(spec().join("06-permissions.md")).unwrap();
    let rows = page.lines().filter_map(|line| line.strip_prefix("| `")?.split_once("` |"));
    let rows: Vec<(&str, &str)> = rows.filter(|(name, _)| !name.contains('.')).collect();
    let powers = values["powers"].as_array().unwrap();
    assert_eq!(rows.len(), powers.len());
    for ((name, cells), power) in rows.into_iter().zip(powers) {
        assert_eq!(name, power["power"]);
        let cells: Vec<&str> = cells.split('|').collect();
        for (told, what) in cells.into_iter().zip(["hooks", "helpers", "kfuncs"]) {
            let value = &power[what];
            let value = value.as_array().unwrap().iter().map(|word| word.as_str().unwrap());
            // Second spellings are for people; the values have one.
            let told = words(told).into_iter().filter(|word| !["tc", "classifier"].contains(word));
            assert_eq!(told.collect::<BTreeSet<_>>(), value.collect::<BTreeSet<_>>(), "{name}");
        }
    }
    let quiet = page.lines().find(|line| line.starts_with("Quiet kfuncs")).unwrap();
    let value = values["quiet-kfuncs"].as_array().unwrap().iter();
    assert_eq!(words(quiet), value.map(|word| word.as_str().unwrap()).collect::<Vec<_>>());
}
