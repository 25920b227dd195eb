//! What TOML 1.1 has and TOML 1.0 has not, and moments that calendars have not: the standard's files are TOML 1.0, so that
//! every reader of TOML takes them, and the parser that we use reads 1.1.

use toml_parser::decoder::Encoding;
use toml_parser::parser::{Event, EventKind, parse_document};
use toml_parser::{Source, Span};

/// A place that TOML 1.0 does not allow.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Later {
    /// Bytes from the start of the text.
    pub at: usize,
    /// What is wrong there.
    pub why: &'static str,
}

/// All such places of a text that has been read as TOML 1.1 without a mistake, in order.
#[must_use]
pub fn later(text: &str) -> Vec<Later> {
    let source = Source::new(text);
    let tokens = source.lex().into_vec();
    let mut check = Check { text, found: Vec::new(), open: Vec::new(), comma: None };
    parse_document(&tokens, &mut |event| check.event(&event), &mut ());
    check.found.sort_by_key(|later| later.at);
    check.found
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Open {
    Array,
    Table,
}

struct Check<'a> {
    text: &'a str,
    found: Vec<Later>,
    /// Arrays and inline tables around the place.
    open: Vec<Open>,
    /// The comma that nothing but space follows yet.
    comma: Option<Span>,
}

impl Check<'_> {
    fn event(&mut self, event: &Event) {
        let span = event.span();
        let comma = match event.kind() {
            EventKind::Whitespace | EventKind::Comment | EventKind::Newline => self.comma,
            _ => self.comma.take(),
        };
        match event.kind() {
            EventKind::InlineTableOpen => self.open.push(Open::Table),
            EventKind::ArrayOpen => self.open.push(Open::Array),
            EventKind::ArrayClose => _ = self.open.pop(),
            EventKind::InlineTableClose => {
                self.open.pop();
                if let Some(comma) = comma {
                    self.add(
                        comma.start(),
                        "no comma may follow the last value of an inline table",
                    );
                }
            }
            EventKind::ValueSep => self.comma = Some(span),
            EventKind::Newline if self.open.last() == Some(&Open::Table) => {
                self.add(span.start(), "an inline table ends on the line where it begins: close it, or write a [table]");
            }
            EventKind::SimpleKey => self.escapes(event),
            EventKind::Scalar if event.encoding().is_some() => self.escapes(event),
            EventKind::Scalar => self.bare(span),
            _ => {}
        }
    }

    fn add(&mut self, at: usize, why: &'static str) {
        self.found.push(Later { at, why });
    }

    fn escapes(&mut self, event: &Event) {
        let basic =
            matches!(event.encoding(), Some(Encoding::BasicString | Encoding::MlBasicString));
        let span = event.span();
        let raw = self.text.get(span.start()..span.end()).filter(|_| basic).unwrap_or_default();
        let mut bytes = raw.bytes().enumerate();
        while let Some((at, byte)) = bytes.next() {
            if byte != b'\\' {
                continue;
            }
            match bytes.next() {
                Some((_, b'x')) => {
                    self.add(span.start() + at, r"there is no escape \x: write \u and four digits")
                }
                Some((_, b'e')) => {
                    self.add(span.start() + at, r"there is no escape \e: write \u001b")
                }
                _ => {}
            }
        }
    }

    /// Numbers and times.
    fn bare(&mut self, span: Span) {
        let raw = self.text.get(span.start()..span.end()).unwrap_or_default();
        if matches!(raw.trim_start_matches(['+', '-']), "0x" | "0o" | "0b") {
            return self.add(span.start(), "a number needs digits");
        }
        if is_long(raw) {
            let why = "an integer is from -2^63 to 2^63 - 1: write a larger one as text, in quotes";
            return self.add(span.start(), why);
        }
        // The first colon is that between hours and minutes.
        let rest = raw.split_once(':').map(|(_, rest)| rest.as_bytes());
        if rest.is_some_and(|rest| rest.get(2) != Some(&b':')) {
            return self.add(span.start(), "a time needs seconds, such as 07:30:00");
        }
        // Readers of TOML differ in these, and none can tell when such a moment is.
        if rest.is_some_and(|rest| rest.get(3..5) == Some(b"60")) {
            return self.add(span.start(), "a minute has the seconds 00 to 59");
        }
        if raw.starts_with("0000-") {
            self.add(span.start(), "the first year is 0001");
        }
    }
}

/// Whether it is an integer of more than 64 bits, one of them the sign: TOML's readers differ in these.
fn is_long(raw: &str) -> bool {
    let number = raw.replace('_', "");
    let digits = number.trim_start_matches(['+', '-']);
    let (radix, digits) = match digits.get(..2) {
        Some("0x") => (16, &digits[2..]),
        Some("0o") => (8, &digits[2..]),
        Some("0b") => (2, &digits[2..]),
        _ => (10, digits),
    };
    let most = i64::MAX as u64 + u64::from(number.starts_with('-'));
    let is_integer = digits.bytes().all(|byte| char::from(byte).is_digit(radix));
    is_integer && u64::from_str_radix(digits, radix).map_or(true, |number| number > most)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn places(text: &str) -> Vec<usize> {
        toml::from_str::<toml::Table>(text).unwrap();
        later(text).into_iter().map(|later| later.at).collect()
    }

    #[test]
    fn what_came_with_1_1_is_found_where_it_stands() {
        assert_eq!(places(r#"a = "b\x41\\x\e""#), [6, 13]);
        assert_eq!(places("\"\\x41\" = \"\"\"\n\\e\"\"\""), [1, 13]);
        assert_eq!(places("a = { b = 1, }"), [11]);
        assert_eq!(places("a = {\n b = 1, # why\n}"), [5, 12, 19]);
        assert_eq!(
            places("a = 07:30\nb = 1979-05-27T07:32Z\nc = 1979-05-27 07:32+01:00"),
            [4, 14, 36]
        );
        let at = |text| later(text).into_iter().map(|later| later.at).collect::<Vec<_>>();
        assert_eq!(at("[x-a]\nk = 0x"), [10]); // read as a number, which is looked at only where it is used
    }

    #[test]
    fn moments_that_no_calendar_has_are_found() {
        assert_eq!(places("a = 23:59:60\nb = 2016-12-31T23:59:60Z\nc = 23:59:59.60"), [4, 17]);
        assert_eq!(places("a = 0000-01-01\nb = 0000-01-01T00:00:00Z\nc = 0001-01-01"), [4, 19]);
    }

    #[test]
    fn integers_of_more_than_64_bits_are_found() {
        let longs = ["9223372036854775808", "-9223372036854775809", "0x8000000000000000"];
        let most = ["9223372036854775807", "-9223372036854775808", "0x7fff_ffff_ffff_ffff"];
        let long = |raw: &str| !later(&format!("a = {raw}")).is_empty();
        assert!(longs.into_iter().all(long) && !most.into_iter().any(long));
        assert!(long("99999999999999999999999999") && long(&format!("0b{}", "1".repeat(64))));
        assert!(!["1e400", "12345678901234567890.5", "inf", "2025-01-01"].into_iter().any(long));
    }

    #[test]
    fn what_1_0_has_is_left_alone() {
        let text = r#"
a = "b\\x\\e\n" # \x
b = '\x41\e'
c = """\\x"""
d = '''\x'''
e = { list = [
  1,
  { f = 2 },
], g = "{\\e,}" }
t = [07:30:00, 1979-05-27T07:32:00.5-08:00, 1979-05-27]
n = [0x1f, 0o7, 0b1, 1_000, -1.5e3, inf]
"#;
        assert_eq!(places(text), Vec::<usize>::new());
    }
}
