//! Which packages a rule of `trust.toml` speaks of.

use skep_spec::PackageName;

/// Which package names a rule speaks of: `acme/exec`, `acme/*`, `acme/net-*` or `*`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Pattern(pub(super) String);

impl Pattern {
    /// What one looks like, in words.
    pub const FORM: &str = "publisher/name, publisher/*, publisher/prefix* or *";

    /// What a text means.
    ///
    /// # Errors
    /// No package name fits, or another publisher's could: in words.
    pub fn new(text: String) -> Result<Self, String> {
        let fits = match text.strip_suffix('*') {
            Some("") => true,
            // A prefix that some name of one publisher begins with: filled up to a name.
            Some(prefix) => format!("{prefix}x").parse::<PackageName>().is_ok(),
            None => text.parse::<PackageName>().is_ok(),
        };
        if fits {
            return Ok(Self(text));
        }
        Err(format!("'{text}' is not a pattern of package names: write {}", Self::FORM))
    }

    /// The pattern as it is written.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// Whose packages alone it speaks of; none where it is for all.
    pub(super) fn publisher(&self) -> Option<&str> {
        self.0.split_once('/').map(|(publisher, _)| publisher)
    }

    pub(super) fn matches(&self, name: &PackageName) -> bool {
        match self.0.strip_suffix('*') {
            Some(prefix) => name.as_str().starts_with(prefix),
            None => name.as_str() == self.0,
        }
    }

    /// An exact name outweighs every prefix, a longer prefix a shorter one.
    pub(super) fn weight(&self) -> (bool, usize) {
        (!self.0.ends_with('*'), self.0.len())
    }
}
