//! What a person can do about an error.

use skep_oci::{FollowError, StoreError};
use skep_trust::channel::ChannelError;

use super::NodeError;

impl NodeError {
    /// What a person can do, where the message does not say.
    #[must_use]
    pub fn hint(&self) -> Option<String> {
        let hint = match self {
            _ if self.is_altered() => return None,
            Self::Unauthorized { hint, .. } | Self::Behind { hint, .. } => hint,
            Self::Unfit(unfit) => return unfit.hint(),
            Self::Trust(error) => return error.hint().map(Into::into),
            Self::Dependency { source, .. } | Self::Companion { source, .. } => {
                return self.hint_of_set(source);
            }
            Self::Runtime(error) => return error.hint().map(str::to_owned),
            Self::Entry(error) => return error.hint().map(str::to_owned),
            Self::Registry(error) if error.is_flooded() => {
                "have its publisher push it to another registry, or bring it as a bundle"
            }
            Self::NotRoot(_) => "use sudo",
            Self::Stale { .. } | Self::PlanChanged | Self::OtherThanAgreed { .. } => {
                "look at the plan again: skep apply shows it"
            }
            Self::DesiredFile { .. } => {
                "start the skepd that wrote it; or move the file away, and say again what the node is to be: skep apply -f FILE"
            }
            Self::OneName { packages, .. } => {
                return Some(format!(
                    "install {} first, under another name: --as NAME",
                    packages[1]
                ));
            }
            Self::Keys { .. } => {
                "give the rule the keys that count now and take 'follow' out of it; what was followed lies in the folder 'keys' of skepd's state"
            }
            Self::NoHub(_) => "write host[:port]/publisher/name:version, or set hub in skepd.toml",
            Self::OtherPackage { .. } => "install it as a service of its own",
            Self::Downgrade { .. } => {
                "skep rollback returns to the version before; --allow-downgrade installs an older one"
            }
            Self::Store(StoreError::Several { .. }) => "say which with --package NAME:VERSION",
            Self::OwnStore(StoreError::Io { .. }) => {
                "skepd keeps its packages there: give it a folder that it can write to, with --state-dir"
            }
            Self::OwnStore(_) => {
                "skepd keeps its packages there: restore it from a backup, or move it away and let them in again by skep upgrade"
            }
            Self::Follow(FollowError::Channel(ChannelError::NoRule(_))) => {
                "trust its key in skepd's trust.toml (/etc/skep, or its --config-dir): skep trust add PATTERN --key PUB"
            }
            Self::Follow(FollowError::Channel(ChannelError::Unsigned(..))) => {
                "skep tags lists the versions and channels that there are"
            }
            _ => return None,
        };
        Some(hint.to_owned())
    }

    /// What a person can do where it is another package of the set that is refused.
    fn hint_of_set(&self, source: &Self) -> Option<String> {
        let hint = source.hint();
        match self {
            Self::Dependency { package, .. } if matches!(source, Self::Trust(_)) => Some(format!(
                "each package of a set is held against the rule for its own name: skep trust add PATTERN --key PUB, or install {package} first, by itself"
            )),
            Self::Companion { companion, .. }
                if hint.is_none() && matches!(source, Self::Trust(_)) =>
            {
                Some(format!(
                    "each is held against the rule for its own package: skep trust add PATTERN --key PUB, or take the risk of this one, too: --also-unsigned {companion}"
                ))
            }
            _ => hint,
        }
    }
}
