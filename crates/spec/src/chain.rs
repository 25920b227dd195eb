//! Errors with their causes as text: for people, for logs, and where another error has room for a text alone.

use std::error::Error;

/// An error and its causes in one line; the last is what people need ("connection refused").
#[must_use]
pub fn chain(error: &dyn Error) -> String {
    let mut texts = causes(error);
    texts.insert(0, error.to_string());
    texts.join(": ")
}

/// A text of one line in which others may have had a hand: control characters are escaped, ends of lines and tabs too, so that no
/// name in it looks like another line.
#[must_use]
pub fn line(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for c in text.chars() {
        if c.is_control() { out.extend(c.escape_debug()) } else { out.push(c) }
    }
    out
}

/// What caused an error, the nearest first, without what a text before it says already: some libraries repeat their source
/// in their own words.
#[must_use]
pub fn causes(error: &dyn Error) -> Vec<String> {
    causes_as(error, &ToString::to_string)
}

/// The same, each by what `said` has of it.
pub fn causes_as(
    error: &dyn Error,
    said: &dyn Fn(&(dyn Error + 'static)) -> String,
) -> Vec<String> {
    let own = error.to_string();
    let mut texts: Vec<String> = Vec::new();
    let mut causes = Vec::new();
    let mut next = error.source();
    while let Some(cause) = next {
        let text = cause.to_string();
        if !own.contains(&text) && !texts.iter().any(|said| said.contains(&text)) {
            texts.push(text);
            causes.push(said(cause));
        }
        next = cause.source();
    }
    causes
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Debug, thiserror::Error)]
    enum Said {
        #[error("cannot read it")]
        Apart(#[source] std::io::Error),
        #[error("cannot read it: {0}")]
        Repeated(#[source] std::io::Error),
        #[error("cannot start")]
        Outer(#[source] Box<Self>),
    }

    #[test]
    fn every_cause_is_said_once() {
        for error in [Said::Apart, Said::Repeated] {
            let error = error(std::io::Error::other("the disk is gone"));
            assert_eq!(chain(&error), "cannot read it: the disk is gone");
            let outer = Said::Outer(Box::new(error));
            assert_eq!(chain(&outer), "cannot start: cannot read it: the disk is gone");
        }
    }

    #[test]
    fn what_has_no_cause_is_its_own_text() {
        let error = std::io::Error::from(std::io::ErrorKind::NotFound);
        assert_eq!((chain(&error), causes(&error)), (error.to_string(), Vec::new()));
    }
}
