//! `skep events`.

use std::time::SystemTime;

use clap::Args;
use skep_api::{EventLine, Rows, Watch, csv_line, event_json};

use crate::config::Config;
use crate::daemon;
use crate::error::Result;
use crate::moment;
use crate::options::Shown;
use crate::output::{Format, Output, width};

/// Show a service's events, decoded
#[derive(Debug, Args)]
pub struct Events {
    /// The service
    service: String,
    /// Go on until Ctrl-C; without it, those that wait now
    #[arg(long, short)]
    follow: bool,
    #[command(flatten)]
    shown: Shown,
    /// From this moment on, also what others have read: 10m ago, or 2026-11-29T12:00:00Z
    #[arg(long, value_name = "TIME")]
    since: Option<String>,
    /// To this moment
    #[arg(long, value_name = "TIME")]
    until: Option<String>,
    /// End after that many events, and wait for those that are still to come
    #[arg(long, value_name = "N")]
    events: Option<u64>,
}

impl Events {
    /// Runs it.
    ///
    /// # Errors
    /// No skepd, no such service, or it has no events.
    pub fn run(self, output: &Output, config: &Config) -> Result<()> {
        let name = daemon::service(&self.service)?;
        let client = daemon::client(config);
        let table = !output.is_json();
        let follow = self.follow || self.events.is_some();
        let Shown { filter, fields } = self.shown;
        let fields = (!fields.is_empty()).then(|| fields.join(","));
        let now = SystemTime::now();
        let moment = |option: &str, text: &Option<String>| {
            text.as_deref().map(|text| moment::past(option, text, now)).transpose()
        };
        let (since, until) = (moment("--since", &self.since)?, moment("--until", &self.until)?);
        let watch = Watch { follow, table, limit: self.events, filter, fields, since, until };
        let csv = (output.format() == Format::Csv).then(Vec::new);
        let mut printer = Printer { rows: Rows::new(width(output)), csv };
        daemon::ask_about(&client, &name, async {
            let mut events = client.events(&name, watch).await?;
            while let Some(lines) = events.next().await? {
                printer.print(lines, output);
            }
            Ok(())
        })
    }
}

struct Printer {
    rows: Rows,
    /// Of CSV: the last columns.
    csv: Option<Vec<(String, bool)>>,
}

impl Printer {
    fn print(&mut self, lines: Vec<EventLine>, output: &Output) {
        for line in lines {
            match line {
                EventLine::Columns { columns, note, .. } => {
                    note.iter().for_each(|note| output.note(note));
                    match &mut self.csv {
                        Some(last) if *last != columns => {
                            output.raw(&csv_line(columns.iter().map(|(name, _)| name.as_str())));
                            *last = columns;
                        }
                        Some(_) => {}
                        None => self.rows.columns(columns),
                    }
                }
                EventLine::Older { before } => output.note(&format!(
                    "what was read before {} is not kept any more",
                    moment::text(before)
                )),
                EventLine::Dropped { records } => {
                    output.note(&format!(
                        "{records} events came faster than they were read here, and are not shown"
                    ));
                }
                EventLine::Row { cells, .. } if self.csv.is_some() => {
                    output.raw(&csv_line(cells.iter().map(String::as_str)));
                }
                EventLine::Row { cells, .. } => output.line(&self.rows.row(&cells)),
                EventLine::Event { output: name, event } => {
                    output.raw(&event_json(&name, &event));
                }
            }
        }
    }
}
