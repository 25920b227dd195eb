//! What an apply does, or did, for people: a line a step, and under it what changes.

use skep_api::{Applied, Step, StepKind, StepState};

use crate::commands::{show, upgrade};

/// What would be done.
pub fn planned(plan: &Applied) -> String {
    let mut lines: Vec<String> = Vec::new();
    for step in &plan.steps {
        lines.push(format!("{} {}", sign(step.what), headed(step)));
        lines.extend(below(step).into_iter().map(|line| format!("    {line}")));
    }
    if plan.steps.is_empty() && plan.refused.is_empty() {
        lines.push("Nothing to do: that is what runs".to_owned());
    }
    lines.extend(beside(plan));
    lines.join("\n")
}

/// What was done.
pub fn done(applied: &Applied, took: u128) -> String {
    let is_whole = applied.steps.iter().all(|step| step.state == StepState::Done);
    let mut lines = match (applied.steps.len(), is_whole) {
        (0, _) => return planned(applied),
        (1, true) => vec![format!("Done, one step in {took} ms")],
        (several, true) => vec![format!("Done, {several} steps in {took} ms")],
        (_, false) => {
            let line = |step: &Step| format!("{} {}", word(step.state), headed(step));
            applied.steps.iter().map(line).collect()
        }
    };
    if !is_whole {
        lines.extend(beside(applied));
    }
    lines.join("\n")
}

const fn sign(what: StepKind) -> char {
    match what {
        StepKind::Install => '+',
        StepKind::Remove => '-',
        _ => '~',
    }
}

const fn word(state: StepState) -> &'static str {
    match state {
        StepState::Planned => "planned:",
        StepState::Done => "done:   ",
        StepState::Failed => "FAILED: ",
        StepState::Left => "left:   ",
    }
}

/// A step's own line.
fn headed(step: &Step) -> String {
    let (what, service) = (step.what.as_str(), &step.service);
    match (&step.from, &step.to) {
        (Some(from), Some(to)) => format!("{what} {service} {from} → {to}"),
        (None, Some(version)) | (Some(version), None) => format!("{what} {service} {version}"),
        (None, None) => format!("{what} {service}"),
    }
}

fn below(step: &Step) -> Vec<String> {
    let own = || "the object's own".to_owned();
    let params = step.params.iter().map(|(name, change)| match (step.what, &change.to) {
        (StepKind::Install, Some(to)) => format!("{name} = {to}"),
        (_, to) => {
            let (from, to) = (change.from.clone(), to.clone());
            format!("{name}: {} → {}", from.unwrap_or_else(own), to.unwrap_or_else(own))
        }
    });
    let members = step.together.iter().map(|member| show::member(member).trim().to_owned());
    let plan = step.plan.iter().flat_map(upgrade::changes);
    let plan = plan.map(|line| line.trim_start().to_owned());
    params.chain(members).chain(plan).chain(step.notes.iter().cloned()).collect()
}

/// Services that nobody asked for.
fn beside(plan: &Applied) -> Option<String> {
    let names: Vec<String> = plan.beside.iter().map(ToString::to_string).collect();
    (!names.is_empty()).then(|| {
        format!(
            "not in the file, and left as they are: {} (--prune removes them)",
            names.join(", ")
        )
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn applied(states: [&str; 4]) -> Applied {
        let digest = format!("sha256:{:064}", 1);
        let text = serde_json::json!({
            "revision": 1, "plan": digest,
            "steps": [
                {"service": "flows", "what": "install", "state": states[0], "to": "1.0.0",
                 "params": {"room": {"from": "16", "to": "32"}}},
                {"service": "exec", "what": "upgrade", "state": states[1], "from": "1.0.0", "to": "1.1.0",
                 "params": {"rate": {"from": "1", "to": "5"}, "old": {"from": "x", "to": null}},
                 "plan": {"already": false, "maps": {}, "hooks": [], "separately": [], "notes": ["a note"]}},
                {"service": "exec", "what": "hold", "state": states[2]},
                {"service": "old", "what": "remove", "state": states[3], "from": "0.9.0"},
            ],
            "beside": ["top"],
        });
        serde_json::from_value(text).unwrap()
    }

    #[test]
    fn a_plan_is_a_line_a_step_and_what_changes() {
        insta::assert_snapshot!(planned(&applied(["planned"; 4])), @"
        + install flows 1.0.0
            room = 32
        ~ upgrade exec 1.0.0 → 1.1.0
            old: x → the object's own
            rate: 1 → 5
            a note
        ~ hold exec
        - remove old 0.9.0
        not in the file, and left as they are: top (--prune removes them)
        ");
        let nothing =
            Applied { steps: Vec::new(), beside: Default::default(), ..applied(["planned"; 4]) };
        assert_eq!(planned(&nothing), "Nothing to do: that is what runs");
    }

    #[test]
    fn what_was_done_is_told_from_what_was_not() {
        assert_eq!(done(&applied(["done"; 4]), 7), "Done, 4 steps in 7 ms");
        insta::assert_snapshot!(done(&applied(["done", "failed", "left", "left"]), 7), @"
        done:    install flows 1.0.0
        FAILED:  upgrade exec 1.0.0 → 1.1.0
        left:    hold exec
        left:    remove old 0.9.0
        not in the file, and left as they are: top (--prune removes them)
        ");
    }
}
