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

fn is_hostile(c: char) -> bool {
    c.is_control()
        || matches!(c, '\u{61c}' | '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2066}'..='\u{2069}' | '\u{feff}')
}

#[cfg(test)]
mod tests {
    use super::{shown, shown_lines};

    #[test]
    fn what_could_deceive_is_escaped() {
        assert_eq!(shown("plain ünïcode"), "plain ünïcode");
        assert_eq!(shown("a\nb\tc\u{1b}[2J\u{202e}d"), "a\\nb\\tc\\u{1b}[2J\\u{202e}d");
        assert_eq!(shown_lines("a\nb\tc\u{1b}[2J"), "a\nb\tc\\u{1b}[2J");
    }
}
