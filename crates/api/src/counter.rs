//! Counters as people read them.

use std::fmt;

use serde::de::{Deserialize, Deserializer, MapAccess, Visitor};
use serde_json::value::RawValue;

use crate::{CounterRow, Rows};

/// Most rows of a counter that people are shown.
const ROWS: usize = 20;

/// A counter's entries with the largest first, a column for each field; where there are many, `--output` `whole` has them all,
/// but for `unread` ones.
#[must_use]
pub fn counter_table(rows: &[CounterRow], unread: u64, whole: &str) -> String {
    let mut lines_of: Vec<(u64, Vec<(String, String)>)> = rows
        .iter()
        .map(|row| {
            let (key, value) = (cells("key", &row.key), cells("value", &row.value));
            let size =
                value.iter().filter_map(|(_, cell)| cell.parse::<u64>().ok()).max().unwrap_or(0);
            (size, key.into_iter().chain(value).collect())
        })
        .collect();
    lines_of.sort_by_key(|(size, _)| std::cmp::Reverse(*size));
    let more = lines_of.len().saturating_sub(ROWS) as u64;
    let Some((_, first)) = lines_of.first() else {
        return match unread {
            0 => "  nothing yet".to_owned(),
            unread => format!("  {unread} entries, of which none has room here"),
        };
    };
    let mut table = Rows::new(None);
    let is_number = |text: &str| text.parse::<f64>().is_ok();
    let columns = first.iter().map(|(name, cell)| (name.clone(), is_number(cell))).collect();
    table.columns(columns);
    let mut lines = Vec::new();
    for (_, row) in lines_of.iter().take(ROWS) {
        let row: Vec<String> = row.iter().map(|(_, cell)| cell.clone()).collect();
        lines.push(table.row(&row));
    }
    match (more, unread) {
        (0, 0) => {}
        (more, 0) => lines.push(format!("and {more} more: --output {whole} has them all")),
        (more, unread) => {
            let all = more + unread;
            lines.push(format!(
                "and {all} more, of which {unread} were not read: larger ones may be among them"
            ));
        }
    }
    lines.join("\n")
}

/// A value as cells of a table, each with its column's name: of a structure one for each member, else one that is called `name`.
#[must_use]
pub fn cells(name: &str, value: &RawValue) -> Vec<(String, String)> {
    let json = value.get();
    if let Ok(Members(fields)) = serde_json::from_str(json) {
        return fields.iter().flat_map(|(field, value)| cells(field, value)).collect();
    }
    let text = serde_json::from_str::<String>(json);
    vec![(name.to_owned(), text.unwrap_or_else(|_| json.to_owned()))]
}

/// The members of an object in their order.
struct Members(Vec<(String, Box<RawValue>)>);

impl<'de> Deserialize<'de> for Members {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct InOrder;
        impl<'de> Visitor<'de> for InOrder {
            type Value = Members;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an object")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Members, A::Error> {
                let mut members = Vec::new();
                while let Some(member) = map.next_entry()? {
                    members.push(member);
                }
                Ok(Members(members))
            }
        }
        deserializer.deserialize_map(InOrder)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn row(key: &str, value: &str) -> CounterRow {
        let json = |text: &str| RawValue::from_string(text.to_owned()).unwrap();
        CounterRow { key: json(key), value: json(value) }
    }

    #[test]
    fn columns_are_in_the_order_of_declaration() {
        let rows = [row(r#"{"pid":7,"comm":"sh"}"#, r#"{"reads":3,"bytes":{"out":9,"in":[1,2]}}"#)];
        let line = |cells: [&str; 5]| {
            let [pid, comm, reads, out, rest] = cells;
            format!("{pid:>5}  {comm:<8}  {reads:>7}  {out:>5}  {rest}")
        };
        let expected = [["PID", "COMM", "READS", "OUT", "IN"], ["7", "sh", "3", "9", "[1,2]"]];
        assert_eq!(counter_table(&rows, 0, "json"), expected.map(line).join("\n"));
    }

    #[test]
    fn what_is_not_shown_is_said() {
        let rows = |count: u64| -> Vec<CounterRow> {
            (0..count).map(|n| row(&n.to_string(), &n.to_string())).collect()
        };
        let last = |count, unread| {
            let table = counter_table(&rows(count), unread, "json");
            table.lines().last().unwrap().to_owned()
        };
        assert!(!last(20, 0).contains("more"), "{}", last(20, 0));
        assert_eq!(last(22, 0), "and 2 more: --output json has them all");
        let unread = "and 9 more, of which 7 were not read: larger ones may be among them";
        assert_eq!(last(22, 7), unread);
        assert_eq!(last(20, 7), unread.replace('9', "7"));
        assert_eq!(last(0, 7), "  7 entries, of which none has room here");
    }
}
