//! `skep show`.

use std::collections::BTreeSet;

use clap::Args;
use skep_api::{Detail, HookDetail, Member, MemberChange, ParamValue, Status, counter_table};
use skep_spec::ServiceName;

use super::list::{state, wrong};
use crate::config::Config;
use crate::daemon;
use crate::error::Result;
use crate::output::{Output, bytes, table};

/// Show a service: where it is attached, its maps, counters, generations, and what was adapted for this kernel
#[derive(Debug, Args)]
pub struct Show {
    /// The service
    service: String,
}

impl Show {
    /// Runs it.
    ///
    /// # Errors
    /// No skepd, no such service.
    pub fn run(self, output: &Output, config: &Config) -> Result<()> {
        let name = daemon::service(&self.service)?;
        let client = daemon::client(config);
        let detail = daemon::ask_about(&client, &name, client.service(&name))?;
        output.answer(&detail, || text(&detail));
        Ok(())
    }
}

fn text(detail: &Detail) -> String {
    let status = &detail.status;
    let state = state(status);
    let mut lines = vec![
        format!(
            "{}: {} {}, generation {}, {state}",
            status.service, status.package, status.version, status.generation
        ),
        format!("{}, {}", status.index, status.origin),
    ];
    lines.extend(needs(status));
    lines.push(String::new());
    let mut trouble = wrong(status);
    if let (Some(why), None) = (&detail.state_lost, &status.failed) {
        trouble.push(format!("Loaded again from its package, with empty maps: {why}"));
    }
    trouble.extend(no_room(detail));
    if !trouble.is_empty() {
        lines.extend(trouble);
        lines.push(String::new());
    }
    lines.push("Attached:".to_owned());
    lines.extend(detail.hooks.iter().map(hook));
    let maps = detail
        .maps
        .iter()
        .map(|map| [map.name.clone(), map.max_entries.to_string(), bytes(map.memory)]);
    lines.extend([String::new(), table(["MAP", "ENTRIES", "MEMORY"], maps)]);
    lines.extend(detail.params.iter().map(parameter));
    for (name, rows) in &detail.counters {
        let unread = detail.counters_more.get(name).copied().unwrap_or_default();
        let table = counter_table(rows, unread, "json");
        lines.extend([String::new(), format!("Counter {name}:"), table]);
    }
    lines.extend([String::new(), events(detail)]);
    if let Some(previous) = &status.previous {
        lines.push(format!("skep rollback {} returns to {}", status.service, previous.version));
    }
    lines.extend(detail.report.changes.iter().map(ToString::to_string));
    lines.extend(unheeded(detail));
    lines.join("\n")
}

/// What did not fit the maps of the generation that runs.
pub fn no_room(detail: &Detail) -> impl Iterator<Item = String> {
    let rest = match &detail.status.previous {
        Some(before) => format!("{} has them until the next upgrade", before.version),
        None => "what they held is lost".to_owned(),
    };
    detail.no_room.iter().map(move |(map, entries)| {
        format!("Map {map} had no room for {entries} when this version took over; {rest}")
    })
}

/// What the manifest says and skepd leaves alone.
pub fn unheeded(detail: &Detail) -> Option<String> {
    let keys = detail.unheeded.join(", ");
    (!keys.is_empty()).then(|| format!("skepd of this version does not act on: {keys}"))
}

/// What belongs to a service, and what became of it.
pub fn member(member: &Member) -> String {
    let change = match member.change {
        MemberChange::Installed => "installed",
        MemberChange::Upgraded => "upgraded",
        MemberChange::Kept => "runs already",
        MemberChange::RolledBack => "rolled back",
    };
    let signed = if member.unsigned { ", NOT SIGNED" } else { "" };
    format!("  {} {} as {}: {change}{signed}", member.package, member.version, member.service)
}

/// Who needs whom.
pub fn needs(status: &Status) -> impl Iterator<Item = String> {
    let names = |services: &BTreeSet<ServiceName>| {
        let names: Vec<&str> = services.iter().map(ServiceName::as_str).collect();
        names.join(", ")
    };
    let line = |what: &str, services| {
        let names = names(services);
        (!names.is_empty()).then(|| format!("{} {what} {names}", status.service))
    };
    line("needs", &status.needs).into_iter().chain(line("is needed by", &status.needed_by))
}

/// One hook's line.
pub fn hook(hook: &HookDetail) -> String {
    let program = hook.program.as_deref().unwrap_or("nothing");
    let held = match hook.detached {
        Some(_) => "NOT ATTACHED".to_owned(), // why is said above
        None => format!("held by {}", hook.held_by),
    };
    let mut line = format!("  {program} at {} ({}, {held})", hook.target, hook.mechanism);
    if hook.missed > 0 {
        line += &format!("; {} events missed by the kernel", hook.missed);
    }
    line
}

/// A parameter that somebody set.
fn parameter((name, param): (&String, &ParamValue)) -> String {
    let ParamValue { value, default, live } = param;
    let default = default.as_ref().map(|default| format!("default {default}"));
    let more: Vec<String> = live.then(|| "live".to_owned()).into_iter().chain(default).collect();
    match more.is_empty() {
        true => format!("parameter {name} = {value}"),
        false => format!("parameter {name} = {value} ({})", more.join(", ")),
    }
}

/// What became of its events; what did not happen is left out.
fn events(detail: &Detail) -> String {
    let lost = detail.lost.values().sum::<u64>() + detail.perf_lost;
    let mut text = format!("{} events read, {lost} lost", detail.events_read);
    for (count, what) in [
        (detail.events_dropped, "taken by no reader in time"),
        (detail.events_unknown, "of no output"),
    ] {
        if count > 0 {
            text += &format!(", {count} {what}");
        }
    }
    text
}
