//! One object on this kernel: its workload, install, what is to be seen, remove.

use std::path::Path;

use anyhow::{Context, Result, anyhow};
use serde_json::Value;

use crate::entry::{Entries, Kind};
use crate::packages::{layout, refusal};
use crate::proof;
use crate::see;
use crate::skepd::Skepd;
use crate::work::Work;

/// What came of it.
pub enum Verdict {
    /// It works; what was seen.
    Seen(String),
    /// This kernel has nothing that it could attach to, by its BTF and symbols.
    Absent(String),
    /// Why not.
    Failed(String),
}

impl Verdict {
    /// As it stands in a row.
    pub fn row(&self) -> String {
        let (word, what) = match self {
            Self::Seen(what) => ("ok", what),
            Self::Absent(what) => ("absent", what),
            Self::Failed(what) => ("failed", what),
        };
        let what = what.split_whitespace().collect::<Vec<_>>().join(" ").replace('|', "/");
        format!("{word} | {what}")
    }
}

/// Where objects are tried.
pub struct Trial<'a> {
    pub skepd: &'a Skepd,
    pub folder: &'a Path,
    pub entries: &'a Entries,
}

impl Trial<'_> {
    /// Tries one.
    pub fn of(&self, name: &str, kind: Kind) -> Verdict {
        match tried(self, name, kind) {
            Ok(seen) => Verdict::Seen(seen),
            Err(error) => match proof::lacks(self.folder, name) {
                Some(lacked) => Verdict::Absent(format!("this kernel has no {lacked}")),
                None => Verdict::Failed(format!("{error:#}")),
            },
        }
    }
}

fn tried(trial: &Trial<'_>, name: &str, kind: Kind) -> Result<String> {
    let entry = trial.entries.get(name).context("no such object")?;
    let _work = entry.work.iter().map(|work| Work::start(work, trial.folder));
    let _work = _work.collect::<Result<Vec<_>>>()?;
    let beside =
        entry.beside.as_deref().map(|beside| Service::install(trial, beside, Kind::Import));
    let _beside = beside.transpose().context("what runs beside it")?;
    let service = Service::install(trial, name, kind)?;
    for words in &entry.then {
        let words = words.iter().map(|word| addressed(word)).collect::<Result<Vec<_>>>()?;
        let words: Vec<&str> = words.iter().map(String::as_str).collect();
        trial.skepd.skep(&words)?;
    }
    let seen = see::seen(trial.skepd, name, &entry.see);
    let seen = seen.map_err(|error| anyhow!("{error:#}: {}", service.shown()))?;
    service.remove()?;
    Ok(seen)
}

/// A word in which each `${ksym:NAME}` or `${ksym:NAME+OFFSET}` became an address, as an operator finds it in /proc/kallsyms.
fn addressed(word: &str) -> Result<String> {
    const START: &str = "${ksym:";
    let Some((before, rest)) = word.split_once(START) else { return Ok(word.to_owned()) };
    let (symbol, after) = rest.split_once('}').context("a ${ksym: without an end")?;
    let (name, offset) = symbol.split_once('+').unwrap_or((symbol, "0"));
    let offset: u64 = offset.parse().with_context(|| format!("no offset: {offset}"))?;
    let list = std::fs::read_to_string("/proc/kallsyms").context("read /proc/kallsyms")?;
    let mut lines = list.lines().map(|line| line.split_ascii_whitespace().collect::<Vec<_>>());
    let found = lines.find(|line| line.get(2) == Some(&name));
    let found = found.with_context(|| format!("this kernel has no {name}"))?;
    let address = u64::from_str_radix(found[0], 16).context("read an address")? + offset;
    Ok(format!("{before}{address}{}", addressed(after)?))
}

/// A service that goes again.
struct Service<'a> {
    trial: &'a Trial<'a>,
    name: &'a str,
    is_there: bool,
}

impl<'a> Service<'a> {
    fn install(trial: &'a Trial<'a>, name: &'a str, kind: Kind) -> Result<Self> {
        if let Ok(why) = std::fs::read_to_string(refusal(trial.folder, name, kind)) {
            anyhow::bail!("{why}");
        }
        let entry = trial.entries.get(name).context("no such object")?;
        let layout = layout(trial.folder, name, kind);
        let sets = entry.params(kind).iter().map(|(name, value)| format!("{name}={value}"));
        let sets: Vec<String> = sets.collect();
        let layout = layout.to_str().context("a path that is not UTF-8")?;
        let mut words = vec!["install", "--quiet", layout];
        words.extend(sets.iter().flat_map(|set| ["--set", set]));
        trial.skepd.skep(&words)?;
        Ok(Self { trial, name, is_there: true })
    }

    /// What was adapted or left out on this kernel.
    fn shown(&self) -> String {
        let shown = self.trial.skepd.skep(&["show", self.name, "--output", "json"]);
        let shown: Value =
            shown.ok().and_then(|text| serde_json::from_str(&text).ok()).unwrap_or_default();
        fn changes(value: &Value) -> Vec<String> {
            match value {
                Value::Object(all) => match (all.get("on"), all.get("what")) {
                    (Some(Value::String(on)), Some(Value::String(what))) => {
                        vec![format!("{on}: {what}")]
                    }
                    _ => all.values().flat_map(changes).collect(),
                },
                Value::Array(all) => all.iter().flat_map(changes).collect(),
                _ => Vec::new(),
            }
        }
        changes(&shown).join("; ")
    }

    fn remove(mut self) -> Result<()> {
        self.is_there = false;
        self.trial.skepd.skep(&["remove", self.name]).map(drop).context("remove it")
    }
}

impl Drop for Service<'_> {
    fn drop(&mut self) {
        if self.is_there {
            let _ = self.trial.skepd.skep(&["remove", self.name]);
        }
    }
}
