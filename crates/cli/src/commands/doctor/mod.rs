//! `skep doctor`.

mod here;
mod next;

use std::path::PathBuf;

use clap::Args;
use skep_api::{Finding, FindingState};

use crate::config::Config;
use crate::error::{Error, Kind, Result};
use crate::output::Output;

/// Show what this machine can do for services, what stops it, and how to mend that
///
/// Tries what the kernel takes, with programs that do nothing, and looks at skepd and its files. Works without skepd, and without
/// root: then it says what it could not look at. Ends with 0 when all that is needed holds, with 1 otherwise.
#[derive(Debug, Args)]
pub struct Doctor {
    /// The folder of skepd's state, where skepd does not answer
    #[arg(long, value_name = "DIR", default_value = "/var/lib/skep")]
    state_dir: PathBuf,
    /// Say instead which services here will run on another kernel: its release, where its types are on this machine, or a file
    /// with its types (BTF)
    #[arg(long, value_name = "NEXT")]
    kernel: Option<String>,
    /// Show what is as it should be, too
    #[arg(long)]
    all: bool,
}

impl Doctor {
    /// Runs it.
    ///
    /// # Errors
    /// Something that is needed does not hold, or could not be looked at; with `--kernel`, a service will not run there, or may
    /// not.
    pub fn run(self, output: &Output, config: &Config) -> Result<()> {
        if let Some(kernel) = &self.kernel {
            return next::run(kernel, output, config);
        }
        let mut findings = here::findings(config, &self.state_dir);
        findings.sort_by_key(|finding| finding.state); // stable: what stops comes first
        output.answer(&findings, || text(&findings, self.all));
        let of = |state| findings.iter().filter(|finding| finding.state == state).count();
        match (of(FindingState::Stops), of(FindingState::Unknown)) {
            (0, 0) => Ok(()),
            (0, open) => Err(Error::new(
                Kind::Failed,
                format!(
                    "nothing is known to stop services, but {open} that they need could not be looked at"
                ),
            )),
            (stops, _) => {
                Err(Error::new(Kind::Failed, format!("services are stopped by {stops} of these")))
            }
        }
    }
}

fn text(findings: &[Finding], all: bool) -> String {
    let shown = findings.iter().filter(|one| all || one.state != FindingState::Good);
    let mut lines: Vec<String> = shown.flat_map(lines).collect();
    let good = findings.iter().filter(|one| one.state == FindingState::Good);
    if !all {
        let about: Vec<&str> = good.map(|one| one.about.as_str()).collect();
        lines.push(format!("good: {} ({})", about.len(), shortened(&about)));
        lines.push("  --all shows each".to_owned());
    }
    lines.join("\n")
}

/// Each word once.
fn shortened(about: &[&str]) -> String {
    let mut words: Vec<&str> = about.to_vec();
    words.dedup();
    words.join(", ")
}

fn lines(finding: &Finding) -> Vec<String> {
    let word = match finding.state {
        FindingState::Stops => "STOPS",
        FindingState::Unknown => "not known",
        FindingState::Lacks => "lacks",
        FindingState::Good => "good",
    };
    let mut lines = vec![format!("{word}: {}: {}", finding.about, finding.what)];
    lines.extend(
        finding.why.iter().filter(|why| !why.is_empty()).map(|why| format!("  because {why}")),
    );
    lines.extend(finding.todo.iter().map(|todo| format!("  do: {todo}")));
    lines
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_stops_comes_with_why_and_what_to_do() {
        let finding = |about: &str, state, what: &str| Finding::new(about, state, what);
        let findings = [
            finding("btf", FindingState::Stops, "it carries no types").why("of that").todo("this"),
            finding("programs", FindingState::Unknown, "no program could be tried"),
            finding("attach:lsm", FindingState::Lacks, "this kernel has it not").why(""),
            finding("cgroup2", FindingState::Good, "cgroup v2 is at /sys/fs/cgroup"),
        ];
        insta::assert_snapshot!(text(&findings, false), @"
        STOPS: btf: it carries no types
          because of that
          do: this
        not known: programs: no program could be tried
        lacks: attach:lsm: this kernel has it not
        good: 1 (cgroup2)
          --all shows each
        ");
        assert!(text(&findings, true).ends_with("\ngood: cgroup2: cgroup v2 is at /sys/fs/cgroup"));
    }
}
