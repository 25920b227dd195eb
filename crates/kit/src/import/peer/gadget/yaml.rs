//! YAML from strangers, as far as a `gadget.yaml` needs it: mappings, lists and text. No anchors, no key twice, no second
//! document; tags say nothing, and every scalar is its text, as in a Go `map[string]string`.

use std::collections::BTreeMap;

use saphyr_parser::{Event, Parser};

/// Most bytes of a document.
const BYTES_MAX: usize = 1024 * 1024;
/// Most scalars, lists and mappings.
const NODES_MAX: usize = 50_000;
/// Deepest nesting.
const DEPTH_MAX: usize = 32;

/// A value.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Yaml {
    Text(String),
    List(Vec<Self>),
    Map(BTreeMap<String, Self>),
}

/// Why bytes are not YAML that we read.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum YamlError {
    /// Not text.
    #[error("it is not UTF-8")]
    Text,
    /// Too much of something.
    #[error("it has more than {most} {what}")]
    Limit {
        /// Of what.
        what: &'static str,
        /// How many it may have.
        most: usize,
    },
    /// Not YAML.
    #[error("it is not YAML: {0}")]
    Syntax(String),
    /// A key twice in one mapping.
    #[error("the key '{0}' is there twice")]
    Duplicate(String),
    /// What no `gadget.yaml` has.
    #[error("it has {0}, which is not read")]
    Unread(&'static str),
    /// A value of another shape.
    #[error("'{key}' should be {wanted}")]
    Shape {
        /// Where.
        key: String,
        /// What it should be.
        wanted: &'static str,
    },
}

impl Yaml {
    /// Reads a document; an empty one is a mapping without keys.
    pub(super) fn parse(bytes: &[u8]) -> Result<Self, YamlError> {
        if bytes.len() > BYTES_MAX {
            return Err(YamlError::Limit { what: "bytes", most: BYTES_MAX });
        }
        let text = std::str::from_utf8(bytes).map_err(|_| YamlError::Text)?;
        let (mut tree, mut documents) = (Tree::default(), 0);
        for event in Parser::new_from_str(text) {
            let (event, _) = event.map_err(|error| YamlError::Syntax(error.to_string()))?;
            documents += usize::from(matches!(event, Event::DocumentStart(_)));
            if documents > 1 {
                return Err(YamlError::Unread("a second document"));
            }
            tree.take(event)?;
        }
        Ok(tree.done.unwrap_or(Self::Map(BTreeMap::new())))
    }

    /// The members of a mapping; none of nothing at all (`key:`).
    pub(super) fn map(&self, key: &str) -> Result<&BTreeMap<String, Self>, YamlError> {
        static NONE: BTreeMap<String, Yaml> = BTreeMap::new();
        match self {
            Self::Map(members) => Ok(members),
            Self::Text(text) if is_null(text) => Ok(&NONE),
            _ => Err(YamlError::Shape { key: key.to_owned(), wanted: "a mapping" }),
        }
    }

    /// A scalar's text.
    pub(super) fn text(&self, key: &str) -> Result<&str, YamlError> {
        match self {
            Self::Text(text) => Ok(text),
            _ => Err(YamlError::Shape { key: key.to_owned(), wanted: "a text" }),
        }
    }
}

fn is_null(text: &str) -> bool {
    matches!(text, "" | "~" | "null")
}

/// A tree that grows by events.
#[derive(Default)]
struct Tree {
    open: Vec<Open>,
    done: Option<Yaml>,
    nodes: usize,
}

/// A list or mapping whose end has not come.
enum Open {
    List(Vec<Yaml>),
    Map(BTreeMap<String, Yaml>, Option<String>),
}

impl Tree {
    fn take(&mut self, event: Event<'_>) -> Result<(), YamlError> {
        match event {
            Event::Alias(_) => Err(YamlError::Unread("an alias")),
            Event::Scalar(_, _, anchor, _)
            | Event::SequenceStart(anchor, _)
            | Event::MappingStart(anchor, _)
                if anchor > 0 =>
            {
                Err(YamlError::Unread("an anchor"))
            }
            Event::Scalar(text, ..) => self.put(Yaml::Text(text.into_owned())),
            Event::SequenceStart(..) => self.begin(Open::List(Vec::new())),
            Event::MappingStart(..) => self.begin(Open::Map(BTreeMap::new(), None)),
            Event::SequenceEnd | Event::MappingEnd => match self.open.pop() {
                Some(Open::List(items)) => self.put(Yaml::List(items)),
                Some(Open::Map(members, _)) => self.put(Yaml::Map(members)),
                None => Ok(()),
            },
            _ => Ok(()),
        }
    }

    fn begin(&mut self, open: Open) -> Result<(), YamlError> {
        if self.open.len() >= DEPTH_MAX {
            return Err(YamlError::Limit { what: "levels", most: DEPTH_MAX });
        }
        self.open.push(open);
        Ok(())
    }

    fn put(&mut self, value: Yaml) -> Result<(), YamlError> {
        self.nodes += 1;
        if self.nodes > NODES_MAX {
            return Err(YamlError::Limit { what: "values", most: NODES_MAX });
        }
        match self.open.last_mut() {
            None => self.done = Some(value),
            Some(Open::List(items)) => items.push(value),
            Some(Open::Map(members, waiting)) => match (waiting.take(), value) {
                (Some(key), value) => _ = members.insert(key, value),
                (None, Yaml::Text(key)) if members.contains_key(&key) => {
                    return Err(YamlError::Duplicate(key));
                }
                (None, Yaml::Text(key)) => *waiting = Some(key),
                (None, _) => return Err(YamlError::Unread("a key that is no text")),
            },
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn scalars_are_text_whatever_they_look_like() {
        let text = "a: true\nb: \"1\"\nc: >-\n  two\n  lines\nd: [x, {y: z}]\ne:\n";
        let Yaml::Map(members) = Yaml::parse(text.as_bytes()).unwrap() else { panic!() };
        let text = |key: &str| members[key].text(key).unwrap();
        assert_eq!((text("a"), text("b"), text("c")), ("true", "1", "two lines"));
        let inner = Yaml::Map(BTreeMap::from([("y".into(), Yaml::Text("z".into()))]));
        assert_eq!(members["d"], Yaml::List(vec![Yaml::Text("x".into()), inner]));
        assert!(members["e"].map("e").unwrap().is_empty());
        assert_eq!(Yaml::parse(b"").unwrap(), Yaml::Map(BTreeMap::new()));
    }

    #[test]
    fn damage_is_refused_or_read_and_never_panics() {
        let text = "name: x\nfields:\n  a: {b: 'c', d: [e, \"f\"]}\n  g: >-\n    h\n    i\n# j\n? k\n: |+\n  l\n";
        Yaml::parse(text.as_bytes()).unwrap();
        for at in 0..text.len() {
            for new in b"\0\t\n !\"#%&'*,-:>?@[]`{|}~\x7f\xff" {
                let mut bytes = text.as_bytes().to_vec();
                bytes[at] = *new;
                let _ = Yaml::parse(&bytes);
                let _ = Yaml::parse(&bytes[..at]);
                bytes.insert(at, *new);
                let _ = Yaml::parse(&bytes);
            }
        }
    }

    #[test]
    fn what_strangers_write_is_refused() {
        let deep = "[".repeat(40) + &"]".repeat(40);
        let wide = format!("[{}]", "1,".repeat(NODES_MAX + 1));
        let large = "#".repeat(BYTES_MAX + 1);
        // Billions of laughs begin with one anchor.
        for (text, words) in [
            ("a: &x [1]\nb: *x\n", "an anchor"),
            ("a: 1\na: 2\n", "the key 'a' is there twice"),
            ("a: 1\n---\nb: 2\n", "a second document"),
            ("? [1]\n: 2\n", "a key that is no text"),
            ("a: [1\n", "it is not YAML"),
            ("a: \"\n", "it is not YAML"),
            (&deep, "more than 32 levels"),
            (&wide, "more than 50000 values"),
            (&large, "more than 1048576 bytes"),
        ] {
            let error = Yaml::parse(text.as_bytes()).unwrap_err().to_string();
            assert!(error.contains(words), "{text:.40}: {error}");
        }
        assert_eq!(Yaml::parse(b"a: \xff").unwrap_err(), YamlError::Text);
    }
}
