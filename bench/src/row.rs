//! A row of the results.

use std::path::Path;

use anyhow::{Context, Result};
use comfy_table::Table;
use serde::Serialize;

/// What was measured. Figures are medians; `noise` is half the spread of the pairs, in the figures' unit.
#[derive(Serialize)]
pub struct Row {
    /// What was measured, with its unit.
    pub name: String,
    /// Ours.
    pub ours: Option<f64>,
    /// The peer's, measured in turn with ours.
    pub peer: Option<f64>,
    /// Ours / peer, pair by pair, the median.
    pub ratio: Option<f64>,
    /// The goal in words, where there is one.
    pub goal: Option<String>,
    /// Whether it was met.
    pub met: Option<bool>,
    /// Half the spread between the quarter points of ours.
    pub noise: Option<f64>,
}

impl Row {
    /// A figure with no peer.
    pub fn figure(name: &str, ours: f64) -> Self {
        let name = name.to_owned();
        Self { name, ours: Some(ours), peer: None, ratio: None, goal: None, met: None, noise: None }
    }

    /// Ours against the peer, from samples taken in turn.
    pub fn pair(name: &str, ours: &[f64], peer: &[f64]) -> Self {
        let ratios: Vec<f64> = ours.iter().zip(peer).map(|(ours, peer)| ours / peer).collect();
        Self {
            peer: Some(median(peer)),
            ratio: Some(median(&ratios)),
            noise: Some((quantile(ours, 0.75) - quantile(ours, 0.25)) / 2.0),
            ..Self::figure(name, median(ours))
        }
    }

    /// A measure that could not be taken counts as a goal not met.
    pub fn failed(name: &str, error: &anyhow::Error) -> Self {
        let name = format!("{name}: {error:#}");
        Self {
            name,
            ours: None,
            peer: None,
            ratio: None,
            goal: None,
            met: Some(false),
            noise: None,
        }
    }

    /// The same row held against a goal.
    pub fn goal(mut self, goal: &str, met: impl Fn(&Self) -> bool) -> Self {
        self.met = Some(met(&self));
        self.goal = Some(goal.to_owned());
        self
    }
}

/// The middle value.
pub fn median(samples: &[f64]) -> f64 {
    quantile(samples, 0.5)
}

fn quantile(samples: &[f64], part: f64) -> f64 {
    let mut sorted = samples.to_vec();
    sorted.sort_by(f64::total_cmp);
    let at = (sorted.len().saturating_sub(1) as f64 * part).round() as usize;
    sorted.get(at).copied().unwrap_or(f64::NAN)
}

/// Prints the table.
pub fn show(rows: &[Row]) {
    let mut table = Table::new();
    table
        .load_style(comfy_table::presets::NOTHING)
        .set_header(["what", "ours", "peer", "ratio", "±", "goal", "met"]);
    let number = |value: Option<f64>| value.map(|value| format!("{value:.2}")).unwrap_or_default();
    for row in rows {
        let met = row.met.map(|met| if met { "yes" } else { "NO" }).unwrap_or_default();
        let goal = row.goal.clone().unwrap_or_default();
        let cells = [number(row.ours), number(row.peer), number(row.ratio), number(row.noise)];
        table.add_row(std::iter::once(row.name.clone()).chain(cells).chain([goal, met.to_owned()]));
    }
    println!("{table}");
}

/// Writes the rows as JSON.
pub fn write(rows: &[Row], path: &Path) -> Result<()> {
    let text = serde_json::to_string_pretty(rows)?;
    std::fs::write(path, text + "\n").with_context(|| format!("write {}", path.display()))
}
