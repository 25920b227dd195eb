//! `skep metrics`.

use clap::Args;
use skep_api::{Metric, open_metrics};
use skep_spec::nearest::nearest;

use crate::config::Config;
use crate::daemon;
use crate::error::{Error, Result};
use crate::output::{Output, width};

/// Show what a service's maps count and hold: counters, gauges, histograms, snapshots
#[derive(Debug, Args)]
pub struct Metrics {
    /// The service
    service: String,
    /// Only these outputs of its manifest
    #[arg(value_name = "OUTPUT")]
    outputs: Vec<String>,
    /// Print OpenMetrics text, as Prometheus reads it; snapshots have no place there
    #[arg(long)]
    open_metrics: bool,
}

impl Metrics {
    /// Runs it.
    ///
    /// # Errors
    /// No skepd, no such service or output.
    pub fn run(self, output: &Output, config: &Config) -> Result<()> {
        let name = daemon::service(&self.service)?;
        let client = daemon::client(config);
        let table = !output.is_json() && !self.open_metrics;
        let all = daemon::ask_about(&client, &name, client.metrics(&name, table))?;
        let metrics = chosen(all, &self.outputs)?;
        if self.open_metrics {
            output.raw(open_metrics(name.as_str(), &metrics).trim_end());
            return Ok(());
        }
        output.answer(&metrics, || text(&metrics, width(output)));
        Ok(())
    }
}

fn text(metrics: &[Metric], width: Option<usize>) -> String {
    if metrics.is_empty() {
        return "Its manifest has no counters, gauges, histograms or snapshots.".to_owned();
    }
    let each = metrics.iter().map(|metric| metric.text(width, usize::MAX));
    each.collect::<Vec<_>>().join("\n\n")
}

fn chosen(all: Vec<Metric>, wanted: &[String]) -> Result<Vec<Metric>> {
    let names: Vec<String> = all.iter().map(|metric| metric.output.clone()).collect();
    if let Some(none) = wanted.iter().find(|name| !names.contains(name)) {
        let near = nearest(none, names.iter().map(String::as_str));
        let near = near.map(|near| format!("did you mean '{near}'?"));
        let error = Error::usage(format!(
            "there is no output '{none}' that a map carries; there are: {}",
            names.join(", ")
        ));
        return Err(near.into_iter().fold(error, Error::hint));
    }
    let is_wanted = |metric: &Metric| wanted.is_empty() || wanted.contains(&metric.output);
    Ok(all.into_iter().filter(is_wanted).collect())
}
