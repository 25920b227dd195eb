//! `skep top`.

use clap::Args;

use super::prog::{Whose, busiest};
use crate::config::Config;
use crate::daemon;
use crate::error::Result;
use crate::output::Output;

/// Show the programs that take the most time, again and again, until Ctrl-C
///
/// The kernel counts while it is asked to, which costs each run some nanoseconds. Root's.
#[derive(Debug, Args)]
pub struct Top {
    #[command(flatten)]
    whose: Whose,
    /// How long each look counts, such as 1s or 500ms
    #[arg(long, value_name = "TIME", default_value = "1s")]
    every: String,
    /// End after that many looks
    #[arg(long, value_name = "N")]
    times: Option<u64>,
}

/// Most programs of a look.
const MOST: usize = 20;
impl Top {
    /// Runs it.
    ///
    /// # Errors
    /// No skepd, or who asks is not root.
    pub fn run(self, output: &Output, config: &Config) -> Result<()> {
        let client = daemon::client(config);
        let mut left = self.times.unwrap_or(u64::MAX);
        while left > 0 {
            let rows = self.whose.counted(&client, &self.every)?;
            output.clear();
            match output.is_json() {
                true => output.raw(&serde_json::to_string(&rows).unwrap_or_default()),
                false => output.line(&busiest(&rows, MOST)),
            }
            left -= 1;
        }
        Ok(())
    }
}
