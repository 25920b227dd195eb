//! `skep events`.

use clap::Args;
use skep_api::{EventLine, Rows};

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
    /// End after that many events
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
        let mut printer = Printer { rows: Rows::new(width(output)), left: self.events };
        daemon::ask_about(&client, &name, async {
            let mut events = client.events(&name, follow, table).await?;
            while let Some(lines) = events.next().await? {
                if !printer.print(lines, output) {
                    break;
                }
            }
            Ok(())
        })
    }
}

struct Printer {
    rows: Rows,
    left: Option<u64>,
}

impl Printer {
    /// Prints, and says whether more are wanted.
    fn print(&mut self, lines: Vec<EventLine>, output: &Output) -> bool {
        for line in lines {
            match line {
                EventLine::Columns { columns, .. } => {
                    self.rows.columns(columns);
                    continue;
                }
                EventLine::Dropped { records } => {
                    output.note(&format!(
                        "{records} events came faster than they were read here, and are not shown"
                    ));
                    continue;
                }
                EventLine::Row { cells, .. } => output.line(&self.rows.row(&cells)),
                EventLine::Event { output: name, event } => {
                    output.line(&format!("{{\"output\":{name:?},\"event\":{event}}}"));
                }
            }
            if let Some(left) = &mut self.left {
                *left = left.saturating_sub(1);
                if *left == 0 {
                    return false;
                }
            }
        }
        true
    }
}
