//! What is wrong with a text that is no TOML: each cause once.
//!
//! Behind a bracket that nothing closes the parser takes all that follows for what it is not, and says so of each word. So
//! such a bracket is one mistake, and reading begins again at the next line that can only begin a table or a key.

use toml::de::DeTable;
use toml_parser::lexer::TokenKind;

use super::MAX_DEPTH;

/// Most brackets without an end that are named at once: what follows each is read anew.
const MOST_UNCLOSED: usize = 32;

/// Stands before what is read anew, so that a key there meets no table of its name.
const HEADER: &str = "[_]\n";

/// A mistake, and where it stands in bytes from the start.
pub(super) struct Mistake {
    pub at: usize,
    pub message: String,
    pub hint: Option<String>,
}

/// A bracket that nothing closes.
struct Unclosed {
    at: usize,
    what: &'static str,
    end: char,
    /// The line before which it should have ended.
    before: Option<usize>,
}

/// The mistakes of a text that is no TOML, in its order.
pub(super) fn mistakes(text: &str) -> Vec<Mistake> {
    let mut found = first_of_lines(text, errors(text));
    let mut start = 0;
    for left in (0..MOST_UNCLOSED).rev() {
        let Some(Unclosed { at, what, end, before }) = unclosed(text, start) else { break };
        found.retain(|mistake| mistake.at < at);
        let hint = before.map(|before| {
            let line = text[..before].matches('\n').count() + 1;
            format!("put a {end} before line {line}")
        });
        let message = format!("this {what} is not closed, expected `{end}`");
        found.push(Mistake { at, message, hint });
        let Some(before) = before.filter(|_| left > 0) else { break };
        start = before;
        let anew = errors(&format!("{HEADER}{}", &text[start..])).into_iter();
        let moved = |one: Mistake| {
            let at = (start + one.at).saturating_sub(HEADER.len());
            Mistake { at, ..one }
        };
        found.extend(first_of_lines(text, anew.map(moved).collect()));
    }
    found
}

fn errors(text: &str) -> Vec<Mistake> {
    let (_, errors) = DeTable::parse_recoverable(text);
    let mistake = |error: toml::de::Error| {
        let at = error.span().map(|span| span.start);
        let message = match error.message() {
            "duplicate key" => twice(text, error.span()),
            // The parser's words for brackets, and for dotted keys, of which it does not say where they are.
            "cannot recurse further; max recursion depth met" | "recursion limit" => too_deep(),
            other => other.to_owned(),
        };
        Mistake { at: at.or_else(|| long_key(text)).unwrap_or_default(), message, hint: None }
    };
    let all = errors.into_iter().map(mistake).collect();
    first_of_tables(text, all)
}

/// What is said of a key or table that is there twice.
fn twice(text: &str, at: Option<std::ops::Range<usize>>) -> String {
    let key = at.and_then(|at| text.get(at)).unwrap_or_default();
    format!("'{key}' is there twice")
}

/// A table that is there twice is one mistake, with all the keys of its second half that the first has too.
fn first_of_tables(text: &str, mut all: Vec<Mistake>) -> Vec<Mistake> {
    all.sort_by_key(|mistake| mistake.at);
    let line = |at: usize| text[..at].rfind('\n').map_or(0, |end| end + 1);
    let is_header = |at: usize| text[line(at)..].trim_start().starts_with('[');
    let mut second: Option<usize> = None;
    all.retain(|mistake| {
        let is_twice = mistake.message.ends_with(" is there twice");
        if is_twice && is_header(mistake.at) {
            second = Some(mistake.at);
            return true;
        }
        let within = second.is_some_and(|start| !text[start..mistake.at].contains("\n["));
        !(is_twice && within)
    });
    all
}

/// What is said of more levels than are allowed.
pub(super) fn too_deep() -> String {
    format!("it is nested deeper than {MAX_DEPTH} levels")
}

/// Where the first key begins that alone has more levels than are allowed.
fn long_key(text: &str) -> Option<usize> {
    let (mut start, mut dots) = (None, 0);
    for token in toml_parser::Source::new(text).lex() {
        match token.kind() {
            TokenKind::Newline | TokenKind::Equals => (start, dots) = (None, 0),
            TokenKind::Dot => dots += 1,
            TokenKind::Whitespace => {}
            _ => _ = start.get_or_insert(token.span().start()),
        }
        if dots >= MAX_DEPTH {
            return start;
        }
    }
    None
}

/// The parser goes on at the next line: what it says of the rest of a line follows from the first mistake there.
fn first_of_lines(text: &str, mut errors: Vec<Mistake>) -> Vec<Mistake> {
    errors.sort_by_key(|error| error.at);
    errors.dedup_by(|next, first| !text[first.at..next.at].contains('\n'));
    errors
}

/// The first bracket after `start` that is open where a table or a key begins, or where the text ends.
fn unclosed(text: &str, start: usize) -> Option<Unclosed> {
    let part = &text[start..];
    let (mut open, mut in_value) = (Vec::new(), false);
    for token in toml_parser::Source::new(part).lex() {
        let span = token.span();
        match token.kind() {
            TokenKind::Equals => in_value = true,
            TokenKind::LeftSquareBracket if in_value => open.push((span.start(), "array", ']')),
            TokenKind::LeftCurlyBracket if in_value => {
                open.push((span.start(), "inline table", '}'));
            }
            TokenKind::RightSquareBracket | TokenKind::RightCurlyBracket => _ = open.pop(),
            TokenKind::Newline if open.is_empty() => in_value = false,
            TokenKind::Newline if begins(&part[span.end()..]) => {
                return open.first().map(|open| Unclosed::new(*open, Some(span.end()), start));
            }
            _ => {}
        }
    }
    open.first().map(|open| Unclosed::new(*open, None, start))
}

impl Unclosed {
    /// `at` and `before` are from `start`.
    fn new(
        (at, what, end): (usize, &'static str, char),
        before: Option<usize>,
        start: usize,
    ) -> Self {
        Self { at: start + at, what, end, before: before.map(|before| start + before) }
    }
}

/// Whether the first line of a text can only begin a table (`[a.b]`) or a key (`a = `).
fn begins(text: &str) -> bool {
    let line = text.lines().next().unwrap_or_default().trim_start();
    let name = line.trim_start_matches('[');
    let is_bare = |c: char| c.is_ascii_alphanumeric() || c == '_' || c == '-';
    let rest = name.trim_start_matches(is_bare);
    let word = &name[..name.len() - rest.len()];
    let rest = rest.trim_start();
    if name.len() == line.len() {
        return !word.is_empty() && rest.starts_with(['=', '.']);
    }
    let is_value = ["true", "false", "inf", "nan"].contains(&word);
    word.starts_with(|c: char| c.is_ascii_alphabetic() || c == '_')
        && !is_value
        && (rest.is_empty() || rest.starts_with([']', '.']))
}
