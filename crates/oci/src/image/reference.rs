//! References to images of others, whose tags are no versions.

use std::fmt;
use std::str::FromStr;

use skep_spec::Digest;
use skep_spec::reference::{is_path_component, is_registry, registry};

/// `registry/repository[:tag][@sha256:hex]`, with the tag `latest` where neither is named. Without a registry it is none:
/// nobody is asked by default.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ImageRef {
    /// `host[:port]`.
    pub registry: String,
    /// The path within it.
    pub repository: String,
    /// The tag.
    pub tag: String,
    /// The digest, which is then all that counts.
    pub digest: Option<Digest>,
}

/// Why a text is no reference to an image.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("'{text}' is not an image reference: {why}")]
pub struct ImageRefError {
    /// The text.
    pub text: String,
    /// What is wrong, with what was expected.
    pub why: String,
}

impl FromStr for ImageRef {
    type Err = ImageRefError;

    fn from_str(text: &str) -> Result<Self, ImageRefError> {
        parse(text).map_err(|why| ImageRefError { text: text.to_owned(), why })
    }
}

fn parse(text: &str) -> Result<ImageRef, String> {
    let (rest, digest) = match text.split_once('@') {
        Some((rest, digest)) => {
            (rest, Some(digest.parse::<Digest>().map_err(|error| error.to_string())?))
        }
        None => (text, None),
    };
    let (first, rest) = rest
        .split_once('/')
        .filter(|(first, _)| is_registry(first))
        .ok_or("it should begin with a registry, such as ghcr.io/")?;
    let (repository, tag) = rest.rsplit_once(':').unwrap_or((rest, "latest"));
    if repository.len() > 255 || !repository.split('/').all(is_path_component) {
        return Err("path components are a-z, 0-9 and single . _ - between them".to_owned());
    }
    if !is_tag(tag) {
        return Err(format!("'{tag}' is no tag: letters, digits, . _ -, at most 128"));
    }
    let (registry, repository, tag) = (registry(first)?, repository.to_owned(), tag.to_owned());
    Ok(ImageRef { registry, repository, tag, digest })
}

/// Distribution-spec, "Pulling manifests".
fn is_tag(text: &str) -> bool {
    let word = |b: u8| b.is_ascii_alphanumeric() || b == b'_';
    text.len() <= 128
        && text.bytes().next().is_some_and(word)
        && text.bytes().all(|b| word(b) || b == b'.' || b == b'-')
}

impl fmt::Display for ImageRef {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { registry, repository, tag, digest } = self;
        match digest {
            Some(digest) => write!(f, "{registry}/{repository}@{digest}"),
            None => write!(f, "{registry}/{repository}:{tag}"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_image_has_a_registry_and_any_tag() {
        let image: ImageRef = "quay.io/bpfman-bytecode/xdp_pass".parse().unwrap();
        assert_eq!(image.to_string(), "quay.io/bpfman-bytecode/xdp_pass:latest");
        let image: ImageRef = "127.0.0.1:5000/gadget/trace_open:v0.55.0".parse().unwrap();
        assert_eq!((&*image.registry, &*image.tag), ("127.0.0.1:5000", "v0.55.0"));
        let digest = Digest::of(b"x");
        let image: ImageRef = format!("ghcr.io/a/b:main@{digest}").parse().unwrap();
        assert_eq!(image.digest.unwrap().to_string(), digest.to_string());
        for text in [
            "exec.o",
            "folder/exec.o",
            "ghcr.io",
            "ghcr.io/",
            "ghcr.io/a/../b",
            "ghcr.io/A/b",
            "ghcr.io/a/b:",
            "ghcr.io/a/b:x y",
            "ghcr.io/a/b@sha256:1",
            "host:99999/a/b",
        ] {
            text.parse::<ImageRef>().unwrap_err();
        }
    }
}
