//! From text to an expression.

use super::FilterError;

/// Most bytes of a condition.
const BYTES: usize = 4096;
/// Most levels of `!` and brackets.
const DEPTH: usize = 32;
/// Most comparisons.
const COMPARISONS: usize = 64;

#[derive(Clone, Debug)]
pub(super) enum Expression {
    Any(Vec<Expression>),
    All(Vec<Expression>),
    Not(Box<Expression>),
    Test(Test),
}

/// A field, and what it is compared with; alone, whether it is anything but 0 or empty.
#[derive(Clone, Debug)]
pub(super) struct Test {
    pub(super) field: String,
    pub(super) with: Option<(Operator, String)>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Operator {
    Equal,
    Unequal,
    Less,
    AtMost,
    More,
    AtLeast,
}

const OPERATORS: [(&str, Operator); 6] = [
    ("==", Operator::Equal),
    ("!=", Operator::Unequal),
    ("<=", Operator::AtMost),
    (">=", Operator::AtLeast),
    ("<", Operator::Less),
    (">", Operator::More),
];

pub(super) fn parse(text: &str) -> Result<Expression, FilterError> {
    if text.len() > BYTES {
        return Err(FilterError::Limit { what: "bytes", most: BYTES });
    }
    let mut parser = Parser { text, at: 0, comparisons: 0 };
    let expression = parser.any(DEPTH)?;
    match parser.rest().is_empty() {
        true => Ok(expression),
        false => Err(parser.error("&&, || or the end should stand here")),
    }
}

/// White space of a condition.
const fn is_white(c: char) -> bool {
    matches!(c, ' ' | '\t' | '\n' | '\r')
}

struct Parser<'a> {
    text: &'a str,
    at: usize,
    comparisons: usize,
}

impl<'a> Parser<'a> {
    fn any(&mut self, depth: usize) -> Result<Expression, FilterError> {
        let mut list = vec![self.all(depth)?];
        while self.take("||") {
            list.push(self.all(depth)?);
        }
        Ok(if list.len() == 1 { list.remove(0) } else { Expression::Any(list) })
    }

    fn all(&mut self, depth: usize) -> Result<Expression, FilterError> {
        let mut list = vec![self.one(depth)?];
        while self.take("&&") {
            list.push(self.one(depth)?);
        }
        Ok(if list.len() == 1 { list.remove(0) } else { Expression::All(list) })
    }

    fn one(&mut self, depth: usize) -> Result<Expression, FilterError> {
        let deeper =
            || depth.checked_sub(1).ok_or(FilterError::Limit { what: "levels", most: DEPTH });
        if self.take("!") {
            return Ok(Expression::Not(Box::new(self.one(deeper()?)?)));
        }
        if self.take("(") {
            let inner = self.any(deeper()?)?;
            return match self.take(")") {
                true => Ok(inner),
                false => Err(self.error("&&, || or ) should stand here")),
            };
        }
        self.test()
    }

    fn test(&mut self) -> Result<Expression, FilterError> {
        self.comparisons += 1;
        if self.comparisons > COMPARISONS {
            return Err(FilterError::Limit { what: "comparisons", most: COMPARISONS });
        }
        let is_name = |c: char| c.is_ascii_alphanumeric() || matches!(c, '_' | '.');
        let field = self.word(is_name);
        if field.is_empty() {
            return Err(self.error("a field, ! or ( should stand here"));
        }
        let field = field.to_owned();
        let found = OPERATORS.into_iter().find(|(text, _)| self.take(text));
        let with = found.map(|(_, operator)| Ok((operator, self.value()?))).transpose()?;
        Ok(Expression::Test(Test { field, with }))
    }

    fn value(&mut self) -> Result<String, FilterError> {
        if self.take("\"") {
            return self.quoted();
        }
        let is_plain = |c: char| {
            !is_white(c) && !matches!(c, '(' | ')' | '&' | '|' | '!' | '=' | '<' | '>' | '"')
        };
        match self.word(is_plain) {
            "" => Err(self.error("a value should stand here: a number, a word, or a text in \"\"")),
            word => Ok(word.to_owned()),
        }
    }

    /// Up to the next `"`; `\"` and `\\` stand for these characters.
    fn quoted(&mut self) -> Result<String, FilterError> {
        let mut text = String::new();
        let mut characters = self.text[self.at..].char_indices();
        while let Some((at, c)) = characters.next() {
            match c {
                '"' => {
                    self.at += at + 1;
                    return Ok(text);
                }
                '\\' => match characters.next() {
                    Some((_, c @ ('"' | '\\'))) => text.push(c),
                    Some((_, c)) => text.extend(['\\', c]), // as records show bytes: \xff
                    None => break,
                },
                c => text.push(c),
            }
        }
        self.at = self.text.len();
        Err(self.error("\" should end the text"))
    }

    fn take(&mut self, what: &str) -> bool {
        let rest = self.rest();
        // An operator is not the start of a longer one.
        let is_longer = what == "!" && rest.starts_with("!=");
        let found = rest.starts_with(what) && !is_longer;
        if found {
            self.at += what.len();
        }
        found
    }

    fn word(&mut self, is_part: impl Fn(char) -> bool) -> &'a str {
        let rest = self.rest();
        let end = rest.find(|c| !is_part(c)).unwrap_or(rest.len());
        self.at += end;
        &rest[..end]
    }

    /// What comes behind white space.
    fn rest(&mut self) -> &'a str {
        let rest = &self.text[self.at..];
        let trimmed = rest.trim_start_matches(is_white);
        self.at += rest.len() - trimmed.len();
        trimmed
    }

    fn error(&self, needs: &'static str) -> FilterError {
        let at = self.text[..self.at].chars().count() + 1;
        FilterError::Syntax { text: self.text.to_owned(), at, needs }
    }
}
