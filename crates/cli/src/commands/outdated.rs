//! `skep outdated`.

use clap::Args;
use skep_api::{Newest, Outdated as Row};

use crate::config::Config;
use crate::daemon;
use crate::error::{Error, Kind, Result};
use crate::output::{Output, table};

/// Show what is newer than what runs, and whether skep upgrade would take it: asks the registries, changes nothing
///
/// A service that came by a channel follows that channel; of any other the highest version of its package counts that the
/// services which need it allow. Ends with 1 where a service could not be asked about.
#[derive(Debug, Args)]
pub struct Outdated {
    /// The services; all without any
    #[arg(value_name = "SERVICE")]
    services: Vec<String>,
}

impl Outdated {
    /// Runs it.
    ///
    /// # Errors
    /// No skepd, no such service, or a registry that says nothing.
    pub fn run(self, output: &Output, config: &Config) -> Result<()> {
        let names = self.services.iter().map(|text| daemon::service(text));
        let names = names.collect::<Result<Vec<_>>>()?;
        let client = daemon::client(config);
        let work = client.outdated(&names);
        let rows: Vec<Row> = match names.as_slice() {
            [one] => daemon::ask_about(&client, one, work)?,
            _ => daemon::ask(work)?,
        };
        output.answer(&rows, || text(&rows));
        match rows.iter().filter(|row| row.error.is_some()).count() {
            0 => Ok(()),
            1 => Err(Error::new(Kind::Failed, "one service could not be asked about")),
            several => {
                let what = format!("{several} services could not be asked about");
                Err(Error::new(Kind::Failed, what))
            }
        }
    }
}

fn text(rows: &[Row]) -> String {
    if rows.is_empty() {
        return "No services. skep install PACKAGE makes one.".to_owned();
    }
    let cells = rows.iter().map(|row| {
        let newest = row.newest.as_ref();
        let version = newest.map(|newest| newest.version.as_ref().map(ToString::to_string));
        let version = version.map(|version| version.unwrap_or_else(|| "?".to_owned()));
        let asked = row.asked.as_ref().map(ToString::to_string);
        let dash = || "-".to_owned();
        let (service, runs) = (row.service.to_string(), row.version.to_string());
        let (version, asked) = (version.unwrap_or_else(dash), asked.unwrap_or_else(dash));
        [service, runs, version, asked, word(row).to_owned()]
    });
    let table = table(["SERVICE", "RUNS", "NEWEST", "ASKED", "UPGRADE"], cells);
    std::iter::once(table).chain(rows.iter().flat_map(more)).collect::<Vec<_>>().join("\n")
}

/// What becomes of an upgrade, in a word or two.
fn word(row: &Row) -> &'static str {
    match (&row.error, &row.newest) {
        (Some(_), _) => "not known",
        (None, None) => "up to date",
        (None, Some(newest)) if !newest.trusted => "NOT TRUSTED",
        (None, Some(_)) if row.held => "held",
        (None, Some(Newest { refused: Some(_), .. })) => "refused",
        (None, Some(_)) => "ready",
    }
}

/// Why, and what to do.
fn more(row: &Row) -> Vec<String> {
    let service = &row.service;
    let refused = row.newest.as_ref().and_then(|newest| newest.refused.as_ref());
    if let Some(error) = row.error.as_ref().or(refused) {
        let because = error.causes.iter().map(|cause| format!("  because {cause}"));
        let hint = error.hint.iter().map(|hint| format!("  {hint}"));
        let first = std::iter::once(format!("{service}: {}", error.message));
        return first.chain(because).chain(hint).collect();
    }
    let ready = row.newest.iter();
    ready.map(|newest| format!("skep upgrade {service} {}", newest.reference)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_says_what_would_come_and_what_speaks_against_it() {
        let rows: Vec<Row> = serde_json::from_str(
            r#"[
                {"service":"app","package":"acme/app","version":"1.0.0","asked":"hub:5000/acme/app",
                 "error":{"code":"registry","message":"cannot list acme/app: no connection to hub:5000"}},
                {"service":"exec","package":"acme/exec","version":"1.0.0","asked":"hub:5000/acme/exec@stable",
                 "newest":{"reference":"hub:5000/acme/exec@stable","version":"2.0.0","trusted":true}},
                {"service":"flows","package":"acme/flows","version":"1.0.0","asked":"hub:5000/acme/flows","ranges":["^1"]},
                {"service":"top","package":"acme/top","version":"1.0.0","asked":"hub:5000/acme/top@edge",
                 "newest":{"reference":"hub:5000/acme/top@edge","trusted":false,
                           "refused":{"code":"refused","message":"acme/top is refused","causes":["why"],"hint":"do this"}}}
            ]"#,
        )
        .unwrap();
        insta::assert_snapshot!(text(&rows), @"
        SERVICE  RUNS   NEWEST  ASKED                      UPGRADE
        app      1.0.0  -       hub:5000/acme/app          not known
        exec     1.0.0  2.0.0   hub:5000/acme/exec@stable  ready
        flows    1.0.0  -       hub:5000/acme/flows        up to date
        top      1.0.0  ?       hub:5000/acme/top@edge     NOT TRUSTED
        app: cannot list acme/app: no connection to hub:5000
        skep upgrade exec hub:5000/acme/exec@stable
        top: acme/top is refused
          because why
          do this
        ");
    }
}
