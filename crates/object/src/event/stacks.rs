//! Stacks in records: where their addresses stand, and what a frame is. What is at an address only a node can tell.

use std::fmt;
use std::sync::Arc;

use serde::ser::{Serialize, SerializeMap, Serializer};

use super::NumberAt;
use super::scalar::Scalar;
use crate::shown;

/// Most frames of a stack that are shown.
pub const MOST_FRAMES: usize = 1024;

/// What a node knows of stacks.
pub trait Stacks: fmt::Debug + Send + Sync {
    /// The addresses that a map of stacks has under an id, innermost first; without a map's name those of the only one.
    ///
    /// # Errors
    /// Why there are none.
    fn addresses(&self, map: Option<&str>, id: i64) -> Result<Vec<u64>, String>;

    /// What is at these addresses, a frame for each; the first is where something ran, the others are where it returns to.
    fn frames(&self, of: Of, addresses: &[u64]) -> Vec<Frame>;
}

/// Whose addresses.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Of {
    /// The kernel's.
    Kernel,
    /// A process's, where the record says which.
    Process(Option<u32>),
    /// Each the kernel's or an unknown process's.
    Either,
}

/// One frame of a stack.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Frame {
    /// The address; none where there is no stack at all.
    pub address: Option<u64>,
    /// The function that it is in, where that is known for sure.
    pub symbol: Option<String>,
    /// Bytes behind the function's start; without a function behind the module's.
    pub offset: Option<u64>,
    /// The kernel's module, or the file that the process has mapped there.
    pub module: Option<Arc<str>>,
    /// The build id of that file.
    pub build_id: Option<Arc<str>>,
    /// Why there is no symbol.
    pub unknown: Option<Arc<str>>,
}

impl Frame {
    /// One of which nothing is known, and why.
    #[must_use]
    pub fn unknown(address: Option<u64>, why: impl Into<Arc<str>>) -> Self {
        Self { address, unknown: Some(why.into()), ..Self::default() }
    }
}

/// `vfs_read+0x10 [ext4]`, `/usr/bin/bash+0x1234 (no symbols)`, `0x7f12 (process 7 is gone)`.
impl fmt::Display for Frame {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let module = self.module.as_deref().map(shown);
        match (&self.symbol, &module, self.address) {
            (Some(symbol), _, _) => f.write_str(&shown(symbol))?,
            (None, Some(module), _) if self.offset.is_some() => f.write_str(module)?,
            (None, _, Some(address)) => write!(f, "{address:#x}")?,
            (None, _, None) => f.write_str("?")?,
        }
        match self.offset {
            Some(0) | None => {}
            Some(offset) => write!(f, "+{offset:#x}")?,
        }
        if let (Some(_), Some(module)) = (&self.symbol, &module) {
            write!(f, " [{module}]")?;
        }
        self.unknown.iter().try_for_each(|why| write!(f, " ({})", shown(why)))
    }
}

impl Serialize for Frame {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut map = serializer.serialize_map(None)?;
        if let Some(address) = self.address {
            map.serialize_entry("address", &Hexadecimal(address))?;
        }
        if let Some(symbol) = &self.symbol {
            map.serialize_entry("symbol", symbol)?;
        }
        if let Some(offset) = self.offset {
            map.serialize_entry("offset", &offset)?;
        }
        let texts =
            [("module", &self.module), ("build_id", &self.build_id), ("unknown", &self.unknown)];
        for (name, text) in texts {
            if let Some(text) = text {
                map.serialize_entry(name, &**text)?;
            }
        }
        map.end()
    }
}

struct Hexadecimal(u64);

impl Serialize for Hexadecimal {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(&format_args!("{:#x}", self.0))
    }
}

/// A stack in a record.
#[derive(Clone, Debug)]
pub(super) struct Stack {
    pub(super) side: Side,
    pub(super) addresses: Addresses,
    /// The number that says which process it is of.
    pub(super) process: Option<NumberAt>,
}

/// Whose addresses it has.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Side {
    Kernel,
    Process,
    Either,
}

/// Where its addresses stand.
#[derive(Clone, Debug)]
pub(super) enum Addresses {
    /// In the record, words of 8 bytes up to one that is 0; no count: to its end.
    Here { count: Option<usize>, big_endian: bool },
    /// In a map, under this id.
    In { id: Scalar, map: Option<Box<str>> },
}

/// What a stack comes to.
pub(super) enum Shown {
    Frames(Vec<Frame>),
    /// An id that nobody looks up here.
    Id(i128),
}

impl Stack {
    /// What it is in a record: `data` begins where it stands, `whole` with the record. None if it is cut off.
    pub(super) fn read(
        &self,
        data: &[u8],
        whole: &[u8],
        stacks: Option<&dyn Stacks>,
    ) -> Option<Shown> {
        let found = match &self.addresses {
            Addresses::Here { count, big_endian } => Ok(words(data, *count, *big_endian)),
            Addresses::In { id, map } => {
                let id = id.read(data)?;
                let Some(stacks) = stacks else { return Some(Shown::Id(id)) };
                match i64::try_from(id) {
                    Ok(id) => stacks.addresses(map.as_deref(), id),
                    Err(_) => Err("its id is none".to_owned()),
                }
            }
        };
        Some(Shown::Frames(match found {
            Ok(addresses) => self.frames(&addresses, whole, stacks),
            Err(why) => vec![Frame::unknown(None, why)],
        }))
    }

    fn frames(&self, addresses: &[u64], whole: &[u8], stacks: Option<&dyn Stacks>) -> Vec<Frame> {
        let shown = addresses.get(..MOST_FRAMES).unwrap_or(addresses);
        let of = match self.side {
            Side::Kernel => Of::Kernel,
            Side::Either => Of::Either,
            Side::Process => Of::Process(
                self.process
                    .as_ref()
                    .and_then(|at| at.number(whole).and_then(|number| u32::try_from(number).ok())),
            ),
        };
        let bare = || {
            let bare = |address: &u64| Frame { address: Some(*address), ..Frame::default() };
            shown.iter().map(bare).collect()
        };
        let mut frames = stacks.map_or_else(bare, |stacks| stacks.frames(of, shown));
        let more = addresses.len() - shown.len();
        frames.extend((more > 0).then(|| Frame::unknown(None, format!("and {more} more"))));
        frames
    }
}

/// Whole words up to one that is 0.
fn words(data: &[u8], count: Option<usize>, big_endian: bool) -> Vec<u64> {
    let words = data.chunks_exact(8).take(count.unwrap_or(usize::MAX));
    let word = |bytes: &[u8]| {
        let bytes = bytes.try_into().unwrap_or_default();
        if big_endian { u64::from_be_bytes(bytes) } else { u64::from_le_bytes(bytes) }
    };
    words.map(word).take_while(|word| *word != 0).collect()
}
