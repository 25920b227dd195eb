//! The labels of a metric: fields of its map's key, as people read them.

use std::collections::BTreeMap;

use skep_spec::manifest::{Field, Label};

use super::{Decoder, DecoderError};
use crate::{Btf, TypeId};

/// What a label names of a key that is no struct.
pub const KEY: &str = "key";

/// Reads the labels of a key.
#[derive(Clone, Debug)]
pub struct Labels {
    /// Each with the place of its column.
    labels: Vec<(String, Decoder, usize)>,
}

impl Labels {
    /// Of keys of this type.
    ///
    /// # Errors
    /// A label's field is not in it, or its format does not fit.
    pub fn new(
        btf: &Btf,
        key: TypeId,
        labels: &BTreeMap<String, Label>,
    ) -> Result<Self, DecoderError> {
        let read = |(name, label): (&String, &Label)| {
            let field = Field { format: label.format.clone(), ..Field::default() };
            let fields = BTreeMap::from([(label.key.clone(), field)]);
            let decoder = match btf.composite(key) {
                Some(_) => Decoder::new(btf, key, &fields)?,
                None => Decoder::of_one(btf, key, KEY, &fields)?,
            };
            let at = decoder.columns().position(|column| column.path == label.key);
            let at = at.ok_or_else(|| DecoderError::NoField {
                field: label.key.clone(),
                ty: btf.describe(key),
                fields: decoder.columns().map(|c| c.path.as_str()).collect::<Vec<_>>().join(", "),
            })?;
            Ok((name.clone(), decoder, at))
        };
        Ok(Self { labels: labels.iter().map(read).collect::<Result<_, _>>()? })
    }

    /// The same, each decoder changed.
    #[must_use]
    pub fn map(self, change: impl Fn(Decoder) -> Decoder) -> Self {
        let labels = self.labels.into_iter().map(|(name, one, at)| (name, change(one), at));
        Self { labels: labels.collect() }
    }

    /// Their names, and their texts of one key.
    #[must_use]
    pub fn of(&self, key: &[u8]) -> BTreeMap<String, String> {
        let text = |(name, decoder, at): &(String, Decoder, usize)| {
            let cell = decoder.row(key).into_iter().nth(*at).unwrap_or_default();
            let lines = cell.strip_prefix('\n').map(|frames| frames.replace('\n', ";"));
            (name.clone(), lines.unwrap_or(cell))
        };
        self.labels.iter().map(text).collect()
    }
}
