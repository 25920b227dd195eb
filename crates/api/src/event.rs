//! Events as programs read them.

use serde_json::Value;

/// An event as a line of JSON: the output's name, and `event` as it is, its fields in their order.
#[must_use]
pub fn event_json(output: &str, event: &str) -> String {
    format!("{}{event}{EVENT_TAIL}", event_head(output))
}

/// What such a line begins with, up to the event.
#[must_use]
pub fn event_head(output: &str) -> String {
    format!("{{\"output\":{},\"event\":", Value::from(output))
}

/// What it ends with, behind the event.
pub const EVENT_TAIL: &str = "}";

/// A row as RFC 4180 has it, but for the line's end.
#[must_use]
pub fn csv_line<'a>(cells: impl IntoIterator<Item = &'a str>) -> String {
    // A stack's frames: in a table each has a line of its own.
    let folded = |cell: &str| match cell.strip_prefix('\n') {
        Some(frames) => frames.replace('\n', ";"),
        None => cell.to_owned(),
    };
    let quoted = |cell: String| match cell.contains(['"', ',', '\n', '\r']) {
        true => format!("\"{}\"", cell.replace('"', "\"\"")),
        false => cell,
    };
    cells.into_iter().map(folded).map(quoted).collect::<Vec<_>>().join(",")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cells_of_any_text_stay_apart() {
        assert_eq!(
            csv_line(["7", "a,b", "say \"so\"", "", "日本"]),
            r#"7,"a,b","say ""so""",,日本"#
        );
        assert_eq!(csv_line(["7", "\nread+0x1\nmain", "\n"]), "7,read+0x1;main,");
    }

    #[test]
    fn whatever_an_output_is_called_its_events_are_json() {
        for name in ["opens", "a'b\"c\\", "\u{1b}[31m", "\u{200b}\u{9b}", "日本"] {
            let line = event_json(name, r#"{"z":1,"a":2}"#);
            let whole: Value = serde_json::from_str(&line).unwrap();
            assert_eq!(whole["output"], name);
            assert!(line.ends_with(r#","event":{"z":1,"a":2}}"#), "{line}");
        }
    }
}
