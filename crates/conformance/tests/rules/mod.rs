//! The text of the standard held against its vectors: no rule and no code without them, and no vector of a rule that
//! is not there.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use skep_conformance::{Part, VectorError};

/// A rule of the text, such as `NAM-001`, and the vectors that it asks for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Wants {
    /// One that accepts and one that refuses.
    Both,
    /// One that accepts.
    Accepting,
    /// One that refuses.
    Refusing,
    /// None, for the reason in the text.
    None,
}

/// What the text says.
#[derive(Clone, Debug, Default)]
pub struct Text {
    /// The rules.
    pub rules: BTreeMap<String, Wants>,
    /// The codes.
    pub codes: BTreeSet<String>,
    /// Rules that are there twice, and references to rules that are nowhere.
    pub mistakes: Vec<String>,
}

impl Text {
    /// Reads the Markdown of a folder.
    ///
    /// # Errors
    /// A file that cannot be read.
    pub fn read(folder: &Path) -> Result<Self, VectorError> {
        let failed = |path: &Path| {
            let path = path.to_owned();
            move |source| VectorError::Read { path, source }
        };
        let mut text = Self::default();
        let mut references = BTreeSet::new();
        for entry in std::fs::read_dir(folder).map_err(failed(folder))? {
            let path = entry.map_err(failed(folder))?.path();
            if path.extension().is_some_and(|extension| extension == "md") {
                let page = std::fs::read_to_string(&path).map_err(failed(&path))?;
                text.page(&page);
                references.extend(bracketed(&page).map(str::to_owned));
            }
        }
        let nowhere = references.into_iter().filter(|id| !text.rules.contains_key(id));
        text.mistakes.extend(nowhere.map(|id| format!("[{id}] is referred to and is nowhere")));
        Ok(text)
    }

    fn page(&mut self, page: &str) {
        let mut starts: Vec<usize> = page.match_indices("**[").map(|(at, _)| at).collect();
        starts.push(page.len());
        for pair in starts.windows(2) {
            let [from, to] = *pair else { continue };
            let rule = page.get(from..to).unwrap_or_default();
            let Some(id) = bracketed(rule).next() else { continue };
            // A rule ends with its paragraph; its mark may follow in the next sentence.
            let end = rule.find("\n\n").unwrap_or(rule.len());
            let wants = wants(rule.get(..end).unwrap_or(rule));
            if self.rules.insert(id.to_owned(), wants).is_some() {
                self.mistakes.push(format!("[{id}] is there twice"));
            }
        }
        let errors = page.split_once("\n## Errors\n").map_or("", |(_, errors)| errors);
        let rows = errors.lines().filter_map(|line| line.strip_prefix("| `")?.split('`').next());
        self.codes.extend(rows.map(str::to_owned));
    }
}

fn wants(rule: &str) -> Wants {
    let marked = |mark: &str| rule.contains(&format!("*({mark}"));
    match () {
        () if marked("no vectors: ") => Wants::None,
        () if marked("only accepting vectors)") => Wants::Accepting,
        () if marked("only refusing vectors)") => Wants::Refusing,
        () => Wants::Both,
    }
}

/// Each `[ABC-012]`.
fn bracketed(text: &str) -> impl Iterator<Item = &str> {
    text.split('[').skip(1).filter_map(|rest| {
        let (id, _) = rest.split_once(']')?;
        let (letters, digits) = id.split_once('-')?;
        let fine = letters.len() == 3
            && letters.bytes().all(|b| b.is_ascii_uppercase())
            && digits.len() == 3
            && digits.bytes().all(|b| b.is_ascii_digit());
        fine.then_some(id)
    })
}

/// Every gap between the text and the vectors, one sentence each.
#[must_use]
pub fn gaps(text: &Text, parts: &[Part]) -> Vec<String> {
    let mut gaps = text.mistakes.clone();
    let (mut accepted, mut refused) = (BTreeSet::new(), BTreeSet::new());
    let mut codes: BTreeMap<&str, usize> = BTreeMap::new();
    for part in parts {
        let mut names = BTreeSet::new();
        for case in &part.cases {
            let at = format!("{}, '{}'", part.file, case.name);
            if !names.insert(&case.name) {
                gaps.push(format!("{at} is there twice"));
            }
            if case.musts.is_empty() {
                gaps.push(format!("{at} holds no rule"));
            }
            let unknown = case.musts.iter().filter(|id| !text.rules.contains_key(*id));
            gaps.extend(unknown.map(|id| format!("{at} names {id}, which is nowhere")));
            let set = if case.ok.is_some() { &mut accepted } else { &mut refused };
            set.extend(case.musts.iter().map(String::as_str));
            if let Some(code) = &case.error {
                *codes.entry(code).or_default() += 1;
            }
        }
    }
    for (id, wants) in &text.rules {
        let lacks = |set: &BTreeSet<&str>| !set.contains(id.as_str());
        if matches!(wants, Wants::Both | Wants::Accepting) && lacks(&accepted) {
            gaps.push(format!("[{id}] has no vector that accepts"));
        }
        if matches!(wants, Wants::Both | Wants::Refusing) && lacks(&refused) {
            gaps.push(format!("[{id}] has no vector that refuses"));
        }
    }
    for code in &text.codes {
        let count = codes.get(code.as_str()).copied().unwrap_or(0);
        if count < 2 {
            gaps.push(format!("the code {code} has {count} vectors, it should have two"));
        }
    }
    let unlisted = codes.keys().filter(|code| !text.codes.contains(**code));
    gaps.extend(unlisted.map(|code| format!("the code {code} is in no table of the text")));
    gaps
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_page_gives_rules_marks_and_codes() {
        let mut text = Text::default();
        text.page(
            "- **[ABC-001]** It MUST.\n- **[ABC-002]** It MUST\n  too. *(no vectors: why)*\n\nAs [ABC-001].\n\n## Errors\n\n| Code | Means |\n|---|---|\n| `a.b` | x |\n",
        );
        assert_eq!(text.rules["ABC-001"], Wants::Both);
        assert_eq!(text.rules["ABC-002"], Wants::None);
        assert_eq!(text.codes, BTreeSet::from(["a.b".to_owned()]));
        let gaps = gaps(&text, &[]).join("\n");
        assert!(gaps.contains("[ABC-001] has no vector that accepts"));
        assert!(gaps.contains("the code a.b has 0 vectors"));
        assert!(!gaps.contains("ABC-002"));
    }
}
