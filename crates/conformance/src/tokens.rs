//! Two JSON texts compared token by token: what the standard leaves open about a record's text is no difference.

/// Whether both are JSON with the same tokens: members in the same order, texts by what they say, what is wanted as an
/// integer as it is written, other numbers by their decimal value.
pub(crate) fn is_same(found: &str, wanted: &str) -> bool {
    let is_json = |text| serde_json::from_str::<serde::de::IgnoredAny>(text).is_ok();
    let (there, meant) = (tokens(found), tokens(wanted));
    let same = |(there, meant): (&Token<'_>, &Token<'_>)| match (there, meant) {
        (Token::Integer(there), Token::Decimal(meant)) => decimal(there) == *meant,
        _ => there == meant,
    };
    let same = there.len() == meant.len() && there.iter().zip(&meant).all(same);
    is_json(found) && is_json(wanted) && same
}

#[derive(Debug, PartialEq)]
enum Token<'a> {
    Text(Option<String>),
    Integer(&'a str),
    /// A number with a fraction or an exponent.
    Decimal(Decimal),
    /// `true`, `false`, `null`, or punctuation.
    Word(&'a str),
}

/// The tokens of a JSON text.
fn tokens(text: &str) -> Vec<Token<'_>> {
    let (mut rest, mut out) = (text.trim_start(), Vec::new());
    while let Some(first) = rest.chars().next() {
        let end = match first {
            '"' => text_end(rest),
            '{' | '}' | '[' | ']' | ':' | ',' => 1,
            _ => rest.find([',', ']', '}', ' ', '\t', '\r', '\n']).unwrap_or(rest.len()),
        };
        let (token, behind) = rest.split_at(end);
        rest = behind.trim_start();
        out.push(match first {
            '"' => Token::Text(serde_json::from_str(token).ok()),
            '-' | '0'..='9' if token.contains(['.', 'e', 'E']) => Token::Decimal(decimal(token)),
            '-' | '0'..='9' => Token::Integer(token),
            _ => Token::Word(token),
        });
    }
    out
}

/// Bytes of the text that `rest` begins with, both quotes included.
fn text_end(rest: &str) -> usize {
    let mut escaped = false;
    let end = rest.bytes().skip(1).position(|byte| {
        let ends = byte == b'"' && !escaped;
        escaped = byte == b'\\' && !escaped;
        ends
    });
    end.map_or(rest.len(), |at| at + 2)
}

/// Digits without zeros at their ends, and the power of ten of the last: those of 0 are none, whatever its sign.
#[derive(Debug, PartialEq)]
struct Decimal {
    negative: bool,
    digits: String,
    power: i64,
}

fn decimal(token: &str) -> Decimal {
    let (mantissa, exponent) = token.split_once(['e', 'E']).unwrap_or((token, "0"));
    let (whole, fraction) = mantissa.split_once('.').unwrap_or((mantissa, ""));
    let digits = format!("{}{fraction}", whole.trim_start_matches('-'));
    let short = digits.trim_end_matches('0');
    let moved = digits.len() as i64 - short.len() as i64 - fraction.len() as i64;
    let power = exponent.parse::<i64>().unwrap_or(i64::MAX).saturating_add(moved);
    match short.trim_start_matches('0') {
        "" => Decimal { negative: false, digits: String::new(), power: 0 },
        digits => Decimal { negative: mantissa.starts_with('-'), digits: digits.to_owned(), power },
    }
}

#[cfg(test)]
mod tests {
    use super::is_same;

    #[test]
    fn what_the_standard_leaves_open_is_no_difference() {
        for (one, other) in [
            (r#"{"a":1.0}"#, r#"{ "a" : 1e0 }"#),
            ("[10000000000]", "[10000000000.0]"),
            ("[10000000000.0]", "[1e+10]"),
            ("[0.1]", "[1E-1]"),
            ("[1e300]", "[10.0e+299]"),
            ("[-0.0]", "[0.0]"),
            (r#"["\u0061\\\" \n"]"#, r#"["a\\\" \u000a"]"#),
        ] {
            assert!(is_same(one, other), "{one} {other}");
        }
    }

    #[test]
    fn what_it_says_is() {
        for (one, other) in [
            (r#"{"a":1,"b":2}"#, r#"{"b":2,"a":1}"#),
            (r#"{"a":1}"#, r#"{"a":1,"a":1}"#),
            ("[0.1]", "[0.10000000149011612]"),
            ("[0.1]", "[0.01]"),
            ("[-1.5]", "[1.5]"),
            ("[1.0]", "[1]"), // an integer has all its digits and nothing else
            ("[9007199254740993]", "[9007199254740992]"),
            (r#"["1"]"#, "[1]"),
            ("[1]", "[1,]"),
            ("[null]", "[true]"),
        ] {
            assert!(!is_same(one, other), "{one} {other}");
        }
    }
}
