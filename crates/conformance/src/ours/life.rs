//! Part 8.

use std::collections::BTreeMap;

use serde::Deserialize;
use serde_json::{Value, json};
use skep_spec::Version;
use skep_spec::journal::{Fault, Journal};
use skep_spec::life::{
    Entries, Generation, Interrupted, Moved, Way, Writers, after_crash, after_reboot, class,
};

use super::{Answered, Bytes, Failure, question, refused, unreadable};

impl From<Fault> for Failure {
    fn from(fault: Fault) -> Self {
        refused(fault.code(), &fault)
    }
}

pub(super) fn generation(input: &Value) -> Answered {
    let text = input.get("text").and_then(Value::as_str).ok_or_else(|| unreadable("no text"))?;
    let read = Generation::parse(text.as_bytes())
        .map_err(|error| refused(error.code(Generation::CODE), &error))?;
    serde_json::to_value(read).map_err(unreadable)
}

pub(super) fn recover(input: &Value) -> Answered {
    #[derive(Deserialize)]
    struct Asked {
        #[serde(flatten)]
        interrupted: Interrupted,
        runs_new: bool,
    }
    let Asked { interrupted, runs_new } = question(input)?;
    Ok(json!({"way": after_crash(interrupted, runs_new)}))
}

pub(super) fn reboot(input: &Value) -> Answered {
    #[derive(Deserialize)]
    struct Asked {
        #[serde(default)]
        stopped: bool,
        active: u64,
        previous: Option<u64>,
        refused: Vec<u64>,
    }
    let Asked { stopped, active, previous, refused } = question(input)?;
    let start = |generation| if refused.contains(&generation) { Err(()) } else { Ok(()) };
    Ok(json!({"runs": after_reboot(stopped, active, previous, start).ok().flatten()}))
}

pub(super) fn entries(input: &Value) -> Answered {
    let entries: Entries = question(input)?;
    let fate = entries.fate().map_err(|lost| refused(lost.code(), &lost))?;
    Ok(json!({"becomes": fate}))
}

pub(super) fn version(input: &Value) -> Answered {
    #[derive(Deserialize)]
    struct Asked {
        active: Version,
        new: Version,
        consent: bool,
    }
    let Asked { active, new, consent } = question(input)?;
    if new.is_lower(&active) && !consent {
        let message = format!("{new} is lower than {active}");
        return Err(Failure::Refused { code: "life.lower", message, at: None });
    }
    Ok(json!({}))
}

pub(super) fn exactness(input: &Value) -> Answered {
    #[derive(Deserialize)]
    struct Asked {
        writers: [Writers; 2],
        fields: Vec<Moved>,
    }
    let Asked { writers: [old, new], fields } = question(input)?;
    Ok(json!({"class": class(old.max(new), fields)}))
}

#[derive(Deserialize)]
struct Written {
    journal: Bytes,
    #[serde(default)]
    runs_new: bool,
}

pub(super) fn journal(input: &Value) -> Answered {
    let Written { journal, runs_new } = question(input)?;
    let read = Journal::read(&journal.0)?;
    let names: Vec<&str> = read.records.iter().map(|entry| entry.name).collect();
    Ok(json!({"records": names, "keeps": read.good, "does": does(&read, runs_new)}))
}

/// What is done with each beginning of a journal, told where it changes.
pub(super) fn cuts(input: &Value) -> Answered {
    let Written { journal, runs_new } = question(input)?;
    let mut decided: Vec<(usize, Value)> = Vec::new();
    for end in 0..=journal.0.len() {
        let read = Journal::read(&journal.0[..end]);
        let does = read.map_or(json!("refuse"), |read| json!(does(&read, runs_new)));
        if decided.last().is_none_or(|(_, last)| *last != does) {
            decided.push((end, does));
        }
    }
    Ok(json!({"decides": decided}))
}

/// By service.
fn does(journal: &Journal<'_>, runs_new: bool) -> BTreeMap<String, Way> {
    let way = |(service, left)| (service, after_crash(left, runs_new));
    journal.interrupted().into_iter().map(way).collect()
}
