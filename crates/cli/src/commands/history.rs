//! `skep history`.

use std::time::{Duration, UNIX_EPOCH};

use clap::Args;
use skep_api::{Deed, Past, Standing};
use skep_trust::time;

use crate::config::Config;
use crate::daemon;
use crate::error::Result;
use crate::output::{Output, table};

/// Show what was done to a service, the last first: when, from which version to which, by whom, and what came of it
#[derive(Debug, Args)]
pub struct History {
    /// The service; it may be removed
    service: String,
    /// Show so many at most
    #[arg(long, value_name = "N", default_value_t = 20)]
    limit: usize,
}

impl History {
    /// Runs it.
    ///
    /// # Errors
    /// No skepd, no such service, now or before.
    pub fn run(self, output: &Output, config: &Config) -> Result<()> {
        let service = daemon::service(&self.service)?;
        let client = daemon::client(config);
        let past = Past { limit: Some(self.limit) };
        let deeds = daemon::ask_about(&client, &service, client.history(&service, past))?;
        output.answer(&deeds, || text(&deeds));
        Ok(())
    }
}

fn text(deeds: &[Deed]) -> String {
    let standing = |standing: &Option<Standing>| match standing {
        Some(Standing { generation, version }) => format!("{version} ({generation})"),
        None => "-".to_owned(),
    };
    let rows = deeds.iter().map(|deed| {
        let with = deed.with.as_ref().map(|with| format!(" with {with}")).unwrap_or_default();
        let to = deed.tried.as_ref().map(|tried| format!(" to {tried}")).unwrap_or_default();
        let what = format!("{}{to}{with}", deed.what);
        let result =
            deed.error.as_deref().map_or("done".to_owned(), |why| format!("failed: {why}"));
        let (from, to) = (standing(&deed.from), standing(&deed.to));
        [moment(deed.at), what, from, to, deed.by.clone(), result]
    });
    table(["WHEN", "WHAT", "FROM", "TO", "BY", "RESULT"], rows)
}

fn moment(seconds: u64) -> String {
    let moment = UNIX_EPOCH.checked_add(Duration::from_secs(seconds));
    moment.and_then(time::format).unwrap_or_else(|| seconds.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_says_when_what_by_whom_and_what_came_of_it() {
        let read = |text: &str| serde_json::from_str::<Deed>(text).unwrap();
        let deeds = [
            read(
                r#"{"at":1764428400,"service":"exec","what":"upgrade","from":{"generation":1,"version":"1.0.0"},"to":{"generation":1,"version":"1.0.0"},"by":"root, logged in as ann","tried":"2.0.0","error":"exec is held at 1.0.0"}"#,
            ),
            read(
                r#"{"at":0,"service":"exec","what":"install","to":{"generation":1,"version":"1.0.0"},"by":"root","with":"app"}"#,
            ),
        ];
        insta::assert_snapshot!(text(&deeds), @r"
        WHEN                  WHAT              FROM       TO         BY                      RESULT
        2025-11-29T15:00:00Z  upgrade to 2.0.0  1.0.0 (1)  1.0.0 (1)  root, logged in as ann  failed: exec is held at 1.0.0
        1970-01-01T00:00:00Z  install with app  -          1.0.0 (1)  root                    done
        ");
    }
}
