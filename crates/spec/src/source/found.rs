//! The mistakes of a `skep.toml` as they are found, and in the order of the text.

use std::ops::Range;

use super::{Code, Diagnostic};
use crate::nearest::Search;

/// Where no name is nearer than another.
pub(super) const NONE: Names<'static> = &|_| &[];

/// The mistakes found so far, with their place in the text.
pub(super) struct Found<'a> {
    text: &'a str,
    pub list: Vec<At>,
}

pub(super) struct At {
    at: usize,
    code: Code,
    message: String,
    hint: Option<Hint>,
}

impl<'a> Found<'a> {
    pub const fn new(text: &'a str) -> Self {
        Self { text, list: Vec::new() }
    }

    pub fn add(&mut self, code: Code, span: Range<usize>, message: String, hint: Option<Hint>) {
        self.list.push(At { at: span.start, code, message, hint });
    }

    /// In the order of the text, where no wrong name has a nearest one.
    pub fn sorted(self) -> Vec<Diagnostic> {
        self.sorted_with(NONE)
    }

    /// In the order of the text, which is walked once however many there are.
    pub fn sorted_with(mut self, names: Names<'_>) -> Vec<Diagnostic> {
        self.list.sort_by_key(|mistake| mistake.at);
        let mut search = Search::default();
        let mut chars = self.text.char_indices().peekable();
        let (mut line, mut column) = (1, 1);
        let mut placed = |mistake: At| {
            while let Some((_, char)) = chars.next_if(|(at, _)| *at < mistake.at) {
                (line, column) = if char == '\n' { (line + 1, 1) } else { (line, column + 1) };
            }
            let At { code, message, hint, .. } = mistake;
            let hint = hint.and_then(|hint| hint.said(names, &mut search));
            Diagnostic { code, line, column, message, hint }
        };
        self.list.into_iter().map(&mut placed).collect()
    }
}

/// What to do about a mistake. What was meant by a wrong name is looked for last, in the order of the text and within a bound:
/// those that are shown come first.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Hint {
    /// This.
    Do(String),
    /// To write the nearest name of a kind, if there is one.
    Near {
        /// The kind, as who places the mistake knows it.
        kind: &'static str,
        /// The wrong name.
        word: String,
    },
    /// To write the nearest of these names, which `, ` divides.
    Among {
        /// The names.
        names: String,
        /// The wrong name.
        word: String,
    },
}

impl Hint {
    fn said<'n>(self, names: Names<'n>, search: &mut Search) -> Option<String> {
        let near = match &self {
            Self::Do(said) => return Some(said.clone()),
            Self::Near { kind, word } => search.nearest(word, names(kind).iter().copied()),
            Self::Among { names, word } => search.nearest(word, names.split(", ")),
        };
        near.map(|near| format!("did you mean '{near}'?"))
    }
}

/// The names of each kind.
pub type Names<'n> = &'n dyn Fn(&str) -> &'n [&'n str];
