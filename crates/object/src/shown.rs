//! Text of strangers as a terminal may show it.

use std::borrow::Cow;
use std::fmt::Write as _;

/// The text with control characters, line ends and direction marks escaped, so that it cannot pass for something else.
#[must_use]
pub fn shown(text: &str) -> Cow<'_, str> {
    escaped(text, is_hostile)
}

/// The same for a text of several lines, whose ends and tabs stay.
#[must_use]
pub fn shown_lines(text: &str) -> Cow<'_, str> {
    escaped(text, |c| is_hostile(c) && !matches!(c, '\n' | '\t'))
}

/// A name as messages repeat it: cut off where it is longer than any that people give.
pub(crate) fn brief(name: &str) -> Cow<'_, str> {
    const MOST: usize = 128;
    let end = name.floor_char_boundary(MOST);
    if end == name.len() { name.into() } else { format!("{}…", &name[..end]).into() }
}

fn escaped(text: &str, is_escaped: fn(char) -> bool) -> Cow<'_, str> {
    if !text.contains(is_escaped) {
        return Cow::Borrowed(text);
    }
    let mut out = String::with_capacity(text.len() + 8);
    for c in text.chars() {
        match c {
            c if !is_escaped(c) => out.push(c),
            '\n' => out.push_str("\\n"),
            '\t' => out.push_str("\\t"),
            c => _ = write!(out, "\\u{{{:x}}}", c as u32), // a String takes everything
        }
    }
    Cow::Owned(out)
}

/// Control characters, ends of lines, and what Unicode lets be invisible (Default_Ignorable_Code_Point, version 16): two names that
/// differ by such look the same.
fn is_hostile(c: char) -> bool {
    c.is_control()
        || !c.is_ascii()
            && matches!(c,
                '\u{ad}' | '\u{34f}' | '\u{61c}' | '\u{115f}'..='\u{1160}' | '\u{17b4}'..='\u{17b5}'
                | '\u{180b}'..='\u{180f}' | '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}'
                | '\u{2060}'..='\u{206f}' | '\u{2800}' | '\u{3164}' | '\u{fe00}'..='\u{fe0f}' | '\u{feff}'
                | '\u{ffa0}' | '\u{fff0}'..='\u{fff8}' | '\u{1bca0}'..='\u{1bca3}'
                | '\u{1d173}'..='\u{1d17a}' | '\u{e0000}'..='\u{e0fff}')
}

/// JSON of which a terminal shows nothing that could pass for something else: such characters are escaped, as only texts have them.
#[must_use]
pub fn shown_json(json: &str) -> Cow<'_, str> {
    let is_raw = |c: char| is_hostile(c) && !c.is_ascii();
    if json.is_ascii() || !json.contains(is_raw) {
        return Cow::Borrowed(json);
    }
    let mut out = String::with_capacity(json.len() + 8);
    for c in json.chars() {
        if is_raw(c) {
            let mut units = [0; 2];
            c.encode_utf16(&mut units).iter().for_each(|unit| _ = write!(out, "\\u{unit:04x}"));
        } else {
            out.push(c);
        }
    }
    Cow::Owned(out)
}

#[cfg(test)]
mod tests {
    use super::{shown, shown_json, shown_lines};

    #[test]
    fn what_could_deceive_is_escaped() {
        assert_eq!(shown("plain ünïcode"), "plain ünïcode");
        assert_eq!(shown("a\nb\tc\u{1b}[2J\u{202e}d"), "a\\nb\\tc\\u{1b}[2J\\u{202e}d");
        assert_eq!(shown_lines("a\nb\tc\u{1b}[2J"), "a\nb\tc\\u{1b}[2J");
        assert_eq!(shown("counts\u{2060}\u{e0041}"), "counts\\u{2060}\\u{e0041}");
        let json = serde_json::json!({"a": "ü\u{9b}\u{202e}\u{e0041}\n"});
        let text = shown_json(&json.to_string()).into_owned();
        assert_eq!(text, r#"{"a":"ü\u009b\u202e\udb40\udc41\n"}"#);
        assert_eq!(serde_json::from_str::<serde_json::Value>(&text).unwrap(), json);
    }
}
