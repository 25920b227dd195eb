//! The tags of a repository: versions, channels, and what is none of ours.

use reqwest::{Method, StatusCode};
use serde::Deserialize;
use skep_spec::oci::MAX_DOCUMENT;
use skep_spec::{Channel, PackageRef, Version, chain, json};

use super::error::RegistryError;
use super::http::Body;
use super::mirrors::By;
use super::{Read, Registry};

/// Most pages that are followed.
const PAGES_MAX: usize = 64;
/// Most tags of a package that are versions.
pub const VERSIONS_MAX: usize = 10_000;
/// Most tags of a package that are channels.
pub const CHANNELS_MAX: usize = 64;

/// What a package is tagged with.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Tags {
    /// Versions, the newest first.
    pub versions: Vec<Version>,
    /// Channels, by name.
    pub channels: Vec<Channel>,
}

#[derive(Deserialize)]
struct Page {
    /// Some registries say `null` where the last tag was deleted; none leaves it out.
    #[serde(deserialize_with = "Option::deserialize")]
    tags: Option<Vec<String>>,
}

impl Registry {
    /// The versions and channels of the package that a reference names. Tags that spell neither are left out.
    ///
    /// # Errors
    /// When the registry has no such package, or does not list its tags as it should.
    pub async fn tags(&self, reference: &PackageRef) -> Result<Tags, RegistryError> {
        let action = format!("list the tags of {}", reference.repository());
        self.http.within_list(&action, self.all_pages(&action, reference)).await
    }

    async fn all_pages(&self, action: &str, reference: &PackageRef) -> Result<Tags, RegistryError> {
        let repository = reference.repository();
        let mut path = format!("/v2/{repository}/tags/list?n=1000");
        let mut tags = Tags::default();
        for _ in 0..PAGES_MAX {
            let answer = self.read(Read {
                action,
                repository: &repository,
                path,
                accept: "application/json",
                body: Body::AtMost(MAX_DOCUMENT as u64),
                method: Method::GET,
                by: By::Tag,
            });
            let answer = answer.await?;
            if answer.status == StatusCode::NOT_FOUND {
                return Err(self.not_found(action));
            }
            let page: Page = json::read(&answer.body, MAX_DOCUMENT)
                .map_err(|e| self.http.misbehaves(action, format!("its list: {}", chain(&e))))?;
            page.tags.iter().flatten().for_each(|tag| tags.add(tag));
            tags.is_within_limits().map_err(|why| self.http.misbehaves(action, why))?;
            match self.next_page(action, &answer.headers)? {
                Some(next) => path = next,
                None => return Ok(tags.sorted()),
            }
        }
        Err(self.http.misbehaves(action, format!("its list has more than {PAGES_MAX} pages")))
    }

    /// The versions of a package; none where the registry has no such package.
    ///
    /// # Errors
    /// The registry does not list its tags as it should.
    pub async fn versions(&self, reference: &PackageRef) -> Result<Vec<Version>, RegistryError> {
        match self.tags(reference).await {
            Err(RegistryError::NotFound { .. }) => Ok(Vec::new()),
            tags => tags.map(|tags| tags.versions),
        }
    }
}

impl Tags {
    fn add(&mut self, tag: &str) {
        self.versions.extend(Version::from_tag(tag));
        self.channels.extend(Channel::from_tag(tag));
    }

    fn is_within_limits(&self) -> Result<(), String> {
        let counted = [
            (self.versions.len(), VERSIONS_MAX, "versions"),
            (self.channels.len(), CHANNELS_MAX, "channels"),
        ];
        match counted.iter().find(|(found, most, _)| found > most) {
            Some((_, most, what)) => Err(format!("its list has more than {most} {what}")),
            None => Ok(()),
        }
    }

    fn sorted(mut self) -> Self {
        self.versions.sort_by(|a, b| b.cmp(a));
        self.versions.dedup();
        self.channels.sort();
        self.channels.dedup();
        self
    }
}
