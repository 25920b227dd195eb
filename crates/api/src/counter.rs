//! Counters as people read them.

use serde_json::Value;

use crate::{CounterRow, Rows};

/// Most rows of a counter that people are shown.
const ROWS: usize = 20;

/// A counter's entries with the largest first, a column for each field; where there are many, `--output` `whole` has them all.
#[must_use]
pub fn counter_table(rows: &[CounterRow], whole: &str) -> String {
    let mut cells: Vec<(u64, Vec<(String, String)>)> = rows
        .iter()
        .map(|row| {
            let (key, value) = (flat("key", &row.key), flat("value", &row.value));
            let size =
                value.iter().filter_map(|(_, cell)| cell.parse::<u64>().ok()).max().unwrap_or(0);
            (size, key.into_iter().chain(value).collect())
        })
        .collect();
    cells.sort_by_key(|(size, _)| std::cmp::Reverse(*size));
    let more = cells.len().saturating_sub(ROWS);
    let Some((_, first)) = cells.first() else { return "  nothing yet".to_owned() };
    let mut table = Rows::new(None);
    let is_number = |text: &str| text.parse::<f64>().is_ok();
    let columns = first.iter().map(|(name, cell)| (name.clone(), is_number(cell))).collect();
    table.columns(columns);
    let mut lines = Vec::new();
    for (_, row) in cells.iter().take(ROWS) {
        let row: Vec<String> = row.iter().map(|(_, cell)| cell.clone()).collect();
        lines.push(table.row(&row));
    }
    if more > 0 {
        lines.push(format!("and {more} more: --output {whole} has them all"));
    }
    lines.join("\n")
}

fn flat(name: &str, value: &Value) -> Vec<(String, String)> {
    match value {
        Value::Object(fields) => {
            fields.iter().flat_map(|(field, value)| flat(field, value)).collect()
        }
        Value::String(text) => vec![(name.to_owned(), text.clone())],
        other => vec![(name.to_owned(), other.to_string())],
    }
}
