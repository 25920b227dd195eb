//! Text of strangers as a terminal may show it.

use std::borrow::Cow;
use std::fmt::Write as _;

/// The text with control characters, line ends and direction marks escaped, so that it cannot pass for something else.
#[must_use]
pub fn shown(text: &str) -> Cow<'_, str> {
    if !text.contains(is_hostile) {
        return Cow::Borrowed(text);
    }
    let mut out = String::with_capacity(text.len() + 8);
    for c in text.chars() {
        match c {
            '\n' => out.push_str("\\n"),
            '\t' => out.push_str("\\t"),
            c if is_hostile(c) => _ = write!(out, "\\u{{{:x}}}", c as u32), // a String takes everything
            c => out.push(c),
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
    use super::shown;

    #[test]
    fn what_could_deceive_is_escaped() {
        assert_eq!(shown("plain ünïcode"), "plain ünïcode");
        assert_eq!(shown("a\nb\tc\u{1b}[2J\u{202e}d"), "a\\nb\\tc\\u{1b}[2J\\u{202e}d");
    }
}
