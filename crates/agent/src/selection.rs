//! What of events a reader wants to see: which records, and which of their fields. It is told here, where the bytes and their
//! types are: what nobody wants becomes no text and crosses no socket.

use skep_object::event::{Bound, Decoder, Filter, FilterError};

/// A reader's wish.
#[derive(Clone, Debug, Default)]
pub struct Selection {
    filter: Option<Filter>,
    fields: Vec<String>,
}

/// The same on the records of one output.
#[derive(Clone, Debug)]
pub struct View {
    bound: Option<Bound>,
    decoder: Decoder,
}

impl Selection {
    /// Of a condition and fields as they were typed.
    ///
    /// # Errors
    /// It is no condition.
    pub fn new(filter: Option<&str>, fields: Vec<String>) -> Result<Self, FilterError> {
        Ok(Self { filter: filter.map(Filter::parse).transpose()?, fields })
    }

    /// On the records of an output.
    ///
    /// # Errors
    /// They have no such fields.
    pub fn view(&self, decoder: &Decoder) -> Result<View, FilterError> {
        let bound = self.filter.as_ref().map(|filter| filter.bind(decoder)).transpose()?;
        let decoder = match self.fields.as_slice() {
            [] => decoder.clone(),
            fields => decoder.only(fields)?,
        };
        Ok(View { bound, decoder })
    }

    /// That it says something of at least one output: the others are left out.
    ///
    /// # Errors
    /// Why it says nothing of the first.
    pub fn fits<'a>(
        &self,
        decoders: impl IntoIterator<Item = &'a Decoder>,
    ) -> Result<(), FilterError> {
        let mut first = None;
        for decoder in decoders {
            match self.view(decoder) {
                Ok(_) => return Ok(()),
                Err(error) => drop(first.get_or_insert(error)),
            }
        }
        first.map_or(Ok(()), Err)
    }
}

impl View {
    /// Whether a record is wanted.
    #[must_use]
    pub fn takes(&self, data: &[u8]) -> bool {
        self.bound.as_ref().is_none_or(|bound| bound.takes(data))
    }

    /// What reads its wanted fields.
    #[must_use]
    pub const fn decoder(&self) -> &Decoder {
        &self.decoder
    }
}
