//! The text, the vectors and the code of the standard, held against each other.
#![allow(clippy::unwrap_used)]

use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use skep_conformance::{Command, Implementation, Ours, Report, load, rules, run};

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
fn ours_passes_every_vector_in_time() {
    let clock = Instant::now();
    let report = report(&mut Ours);
    assert!(report.failures.is_empty(), "{}", report.failures.join("\n"));
    assert!(report.parts.values().all(|counts| counts.left_out == 0), "{:?}", report.parts);
    assert!(clock.elapsed() < Duration::from_secs(20), "{:?}", clock.elapsed());
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

#[test]
fn the_text_lists_the_helpers_of_the_code() {
    let page = std::fs::read_to_string(spec().join("12-registries.md")).unwrap();
    let (_, list) = page.split_once("is added here.\n\n").unwrap();
    let (list, _) = list.split_once("\n\n").unwrap();
    let listed: Vec<&str> = list.split_whitespace().map(|word| word.trim_matches('`')).collect();
    assert_eq!(listed, skep_spec::license::GPL_ONLY);
}
