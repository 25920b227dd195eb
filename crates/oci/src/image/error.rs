//! Why an image of others was not read.

use skep_spec::Digest;
use skep_spec::oci::DocumentError;

use crate::registry::RegistryError;
use crate::store::StoreError;

/// Why an image was not read.
#[derive(Debug, thiserror::Error)]
pub enum ImageError {
    /// Its index or manifest is none.
    #[error("cannot read the image {image}")]
    Document {
        /// The image.
        image: String,
        /// What is wrong.
        source: Box<DocumentError>,
    },
    /// An index in an index.
    #[error(
        "cannot read the image {image}: its index lists another index; name the one that lists manifests"
    )]
    Nested {
        /// The image.
        image: String,
    },
    /// Nothing for Linux on an architecture of ours.
    #[error(
        "the image {image} has nothing for Linux on x86_64, aarch64, riscv64 or s390x{}",
        listed(there)
    )]
    Platforms {
        /// The image.
        image: String,
        /// What it is for.
        there: Vec<String>,
    },
    /// More bytes than are read.
    #[error(
        "cannot read the image {image}: {what} has {size} bytes, more than the {limit} that are read"
    )]
    TooLarge {
        /// The image.
        image: String,
        /// What of it.
        what: &'static str,
        /// Bytes that it has.
        size: u64,
        /// Bytes that are read.
        limit: u64,
    },
    /// A layout's blob of another size than its descriptor says.
    #[error(
        "cannot read the image {image}: {digest} has {found} bytes, and {expected} are announced"
    )]
    Length {
        /// The image.
        image: String,
        /// The blob.
        digest: Digest,
        /// Bytes announced.
        expected: u64,
        /// Bytes that it has.
        found: u64,
    },
    /// A layout that holds no image, or none of a name.
    #[error("'{layout}' lists {}", none_of(tag.as_ref(), there))]
    NoImage {
        /// The layout.
        layout: String,
        /// The name asked for.
        tag: Option<String>,
        /// What it lists.
        there: Vec<String>,
    },
    /// A layout that holds several.
    #[error("'{layout}' lists several images: {}", there.join(", "))]
    Several {
        /// The layout.
        layout: String,
        /// Their names, or digests.
        there: Vec<String>,
    },
    /// The registry failed.
    #[error(transparent)]
    Registry(#[from] RegistryError),
    /// The layout failed.
    #[error(transparent)]
    Store(#[from] StoreError),
}

fn listed(there: &[String]) -> String {
    match there {
        [] => String::new(),
        there => format!("; it is for {}", there.join(", ")),
    }
}

fn none_of(tag: Option<&String>, there: &[String]) -> String {
    match (tag, there) {
        (None, _) | (_, []) => "no image".to_owned(),
        (Some(tag), there) => format!("no image '{tag}'; it lists {}", there.join(", ")),
    }
}
