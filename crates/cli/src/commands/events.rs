//! `skep events`.

use clap::Args;
use skep_api::{EventLine, Rows, Watch, event_json};

use crate::config::Config;
use crate::daemon;
use crate::error::Result;
use crate::output::{Output, width};

/// Show a service's events, decoded
#[derive(Debug, Args)]
pub struct Events {
    /// The service
    service: String,
    /// Go on until Ctrl-C; without it, those that wait now
    #[arg(long, short)]
    follow: bool,
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
        let watch = Watch { follow, table, limit: self.events };
        let mut printer = Printer { rows: Rows::new(width(output)) };
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
}

impl Printer {
    fn print(&mut self, lines: Vec<EventLine>, output: &Output) {
        for line in lines {
            match line {
                EventLine::Columns { columns, note, .. } => {
                    note.iter().for_each(|note| output.note(note));
                    self.rows.columns(columns);
                }
                EventLine::Dropped { records } => {
                    output.note(&format!(
                        "{records} events came faster than they were read here, and are not shown"
                    ));
                }
                EventLine::Row { cells, .. } => output.line(&self.rows.row(&cells)),
                EventLine::Event { output: name, event } => {
                    output.raw(&event_json(&name, &event));
                }
            }
        }
    }
}
