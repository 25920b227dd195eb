//! `trust.toml`: whose signatures let a package in.
//!
//! ```toml
//! [[rule]]
//! packages = ["acme/*"]
//! threshold = 1
//! keys = [{ spki = "MCowBQYDK2VwAyEA…", not_after = 2027-12-31T00:00:00Z }]
//!
//! [revoked]
//! keys = ["5f0c…"]
//! digests = ["sha256:…"]
//! ```

mod file;
mod pattern;
mod rule;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use skep_spec::{Digest, PackageName};

pub(crate) use self::file::schema;
pub use self::pattern::Pattern;
pub use self::rule::{Identity, Rule, TrustedKey};
use crate::bundle::{Bundle, Signer};
use crate::key::{KeyId, PublicKey};
use crate::keyless::{Certified, Root};
use crate::rotation::{Keys, RotationError};

/// Largest `trust.toml` that is read, in bytes.
pub const POLICY_MAX: usize = 1024 * 1024;

/// The rules of a node or of a person.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Policy {
    rules: Vec<Rule>,
    revoked_keys: BTreeSet<KeyId>,
    revoked_digests: BTreeSet<Digest>,
}

/// Why a text is no `trust.toml`.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum PolicyError {
    /// Too long.
    #[error("trust.toml has {0} bytes, more than the {POLICY_MAX} allowed")]
    TooLarge(usize),
    /// Not TOML, an unknown key, or a wrong type.
    #[error("trust.toml is not as it should be: {0}")]
    Syntax(String),
    /// A rule that cannot be meant.
    #[error("trust.toml, rule {rule}: {why}")]
    Rule {
        /// Which one, counted from 1.
        rule: usize,
        /// What is wrong with it and what to write.
        why: String,
    },
}

impl PolicyError {
    /// The standard's code.
    #[must_use]
    pub const fn code(&self) -> &'static str {
        match self {
            Self::TooLarge(_) | Self::Syntax(_) => "policy.syntax",
            Self::Rule { .. } => "policy.rule",
        }
    }
}

impl Policy {
    /// Reads a `trust.toml`.
    ///
    /// # Errors
    /// When it is too long, not TOML, has an unknown key, or a rule that cannot be meant: no pattern, a threshold
    /// that its keys cannot reach, a key twice, or the same packages and registry in two rules.
    pub fn parse(text: &str) -> Result<Self, PolicyError> {
        if text.len() > POLICY_MAX {
            return Err(PolicyError::TooLarge(text.len()));
        }
        let file = file::read(text).map_err(PolicyError::Syntax)?;
        let mut rules = Vec::new();
        for (number, rule) in (1..).zip(file.rule) {
            let rule = Rule::new(rule).map_err(|why| PolicyError::Rule { rule: number, why })?;
            if let Some(pattern) = rules.iter().find_map(|other| rule.clashes_with(other)) {
                let why = format!(
                    "another rule speaks of '{}' for the same registries: rules are never merged, so join the two",
                    pattern.0
                );
                return Err(PolicyError::Rule { rule: number, why });
            }
            rules.push(rule);
        }
        let revoked = file.revoked.unwrap_or_default();
        Ok(Self { rules, revoked_keys: revoked.keys, revoked_digests: revoked.digests })
    }

    /// The same, with what stands in the files that its rules name as trusted roots, which `read` reads, each once. Where one
    /// cannot be read or says no authorities, its identities bear nothing out; all else counts.
    #[must_use]
    pub fn with_roots(mut self, read: impl Fn(&str) -> std::io::Result<String>) -> Self {
        let mut roots: BTreeMap<String, Result<Arc<Root>, String>> = BTreeMap::new();
        for identity in self.rules.iter_mut().flat_map(|rule| &mut rule.identities) {
            let Some(path) = &identity.trusted_root else { continue };
            let bad = |why| format!("its trusted_root '{}': {why}", path.escape_debug());
            let parse = |text: String| Root::parse(&text).map(Arc::new);
            let text = || read(path).map_err(|error| error.to_string());
            let root = roots.entry(path.clone());
            let root = root.or_insert_with(|| text().and_then(parse).map_err(bad));
            identity.root = Some(root.clone());
        }
        self
    }

    /// A policy of one rule for every package: `threshold` of `keys`.
    #[must_use]
    pub fn of_keys(keys: Vec<PublicKey>, threshold: usize) -> Self {
        let keys = keys.into_iter().map(|key| TrustedKey { key, not_after: None }).collect();
        let rule = Rule {
            patterns: vec![Pattern("*".into())],
            registries: Vec::new(),
            threshold: threshold.max(1),
            keys,
            identities: Vec::new(),
            attestations: BTreeSet::new(),
            follow: false,
        };
        Self { rules: vec![rule], ..Self::default() }
    }

    /// The one rule for a package: the most specific pattern wins, then the rule that names the registry.
    #[must_use]
    pub fn rule(&self, name: &PackageName, registry: Option<&str>) -> Option<(&Rule, &Pattern)> {
        self.rules
            .iter()
            .filter(|rule| rule.is_for_registry(registry))
            .filter_map(|rule| Some((rule, rule.best_pattern(name)?)))
            .max_by_key(|(rule, pattern)| (pattern.weight(), !rule.registries.is_empty()))
    }

    /// The rule of a package, where that follows its publisher's keys by itself.
    #[must_use]
    pub fn following(&self, name: &PackageName, registry: Option<&str>) -> Option<&Rule> {
        self.rule(name, registry).map(|(rule, _)| rule).filter(|rule| rule.follow)
    }

    /// The same, but that the rule of a package has the keys that its publisher has now. The threshold is never lower than the
    /// operator's, and a key of the rule ends no later than there.
    ///
    /// # Errors
    /// Fewer keys than that.
    pub fn with_keys(
        &self,
        name: &PackageName,
        registry: Option<&str>,
        now: &Keys,
    ) -> Result<Self, RotationError> {
        let rule = self.rule(name, registry).map(|(rule, _)| rule.clone());
        let mut policy = self.clone();
        let Some(rule) = policy.rules.iter_mut().find(|one| Some(&**one) == rule.as_ref()) else {
            return Ok(policy);
        };
        let (found, needed) = (now.keys.len(), rule.threshold.max(now.threshold));
        if found < needed {
            let (version, which) = (now.version, "its own");
            return Err(RotationError::Threshold { version, which, found, needed });
        }
        let own = |key: &PublicKey| rule.keys.iter().find(|one| one.key == *key)?.not_after;
        let trusted = |key: &PublicKey| {
            let not_after = [own(key), now.expires].into_iter().flatten().min();
            TrustedKey { key: key.clone(), not_after }
        };
        let keys = now.keys.iter().map(trusted).collect();
        rule.threshold = needed;
        rule.keys = keys;
        Ok(policy)
    }

    /// The rules, in the file's order.
    #[must_use]
    pub fn rules(&self) -> &[Rule] {
        &self.rules
    }

    /// The keys whose signatures count no more.
    #[must_use]
    pub const fn revoked_keys(&self) -> &BTreeSet<KeyId> {
        &self.revoked_keys
    }

    /// The digests that are refused.
    #[must_use]
    pub const fn revoked_digests(&self) -> &BTreeSet<Digest> {
        &self.revoked_digests
    }

    /// Whether signatures of the key count no more, whatever the rules say.
    #[must_use]
    pub fn is_key_revoked(&self, key: &KeyId) -> bool {
        self.revoked_keys.contains(key)
    }

    /// Whether the digest is refused, whoever signed it.
    #[must_use]
    pub fn is_digest_revoked(&self, digest: &Digest) -> bool {
        self.revoked_digests.contains(digest)
    }

    /// The first revoked key that one of the signatures names, or that is in its certificate.
    pub(crate) fn revoked_key(&self, bundles: &[Vec<u8>]) -> Option<KeyId> {
        let key = |bytes: &Vec<u8>| {
            let bundle = Bundle::parse(bytes).ok()?;
            match bundle.signer() {
                Signer::Key(_) => bundle.signer().key_id(),
                Signer::Certificate => Some(Certified::read(bytes, bundle.payload()).ok()?.key()),
            }
        };
        bundles.iter().filter_map(key).find(|key| self.is_key_revoked(key))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::key::{KeyKind, SecretKey};

    const SPKI: &str = "MCowBQYDK2VwAyEA11qYAYKxCrfVS/7TyWQHOg7hcvPapiMlrwIaaPcHURo=";

    fn rule_for(policy: &Policy, name: &str, registry: Option<&str>) -> Option<usize> {
        let (rule, _) = policy.rule(&name.parse().unwrap(), registry)?;
        Some(rule.threshold())
    }

    #[test]
    fn the_most_specific_rule_wins_alone() {
        let spkis: Vec<String> = (0..5)
            .map(|_| SecretKey::generate(KeyKind::Ed25519).unwrap().public().unwrap().spki_base64())
            .map(|spki| format!("{{ spki = \"{spki}\" }}"))
            .collect();
        let keys = spkis.join(", ");
        // Each rule is known by its threshold.
        let text = [
            (1, r#"["*"]"#, ""),
            (2, r#"["acme/*", "other/one"]"#, ""),
            (3, r#"["acme/net-*"]"#, ""),
            (4, r#"["acme/net-flow"]"#, ""),
            (5, r#"["acme/*"]"#, r#"registries = ["hub.example.com:5000"]"#),
        ]
        .map(|(threshold, packages, more)| {
            format!("[[rule]]\npackages = {packages}\nthreshold = {threshold}\nkeys = [{keys}]\n{more}\n")
        })
        .join("");
        let policy = Policy::parse(&text).unwrap();
        assert_eq!(rule_for(&policy, "zeta/exec", None), Some(1));
        assert_eq!(rule_for(&policy, "acme/exec", None), Some(2));
        assert_eq!(rule_for(&policy, "other/one", None), Some(2));
        assert_eq!(rule_for(&policy, "acme/net-drop", None), Some(3));
        assert_eq!(rule_for(&policy, "acme/net-flow", Some("hub.example.com:5000")), Some(4));
        assert_eq!(rule_for(&policy, "acme/exec", Some("hub.example.com:5000")), Some(5));
        assert_eq!(rule_for(&policy, "acme/exec", Some("hub.example.com")), Some(2));
        assert_eq!(rule_for(&Policy::default(), "acme/exec", None), None);
    }

    #[test]
    fn a_trusted_root_is_read_once_however_many_name_it() {
        let one = |identity: &str, root: &str| {
            format!("{{ issuer = \"i\", identity = \"{identity}\", trusted_root = \"{root}\" }}")
        };
        let identities = [one("a", "root"), one("b", "root"), one("a", "other")].join(", ");
        let rule =
            |name: &str| format!("[[rule]]\npackages = [\"{name}\"]\nkeyless = [{identities}]\n");
        let policy = Policy::parse(&(rule("a/*") + &rule("b/*"))).unwrap();
        let read = std::cell::RefCell::new(Vec::new());
        let policy = policy.with_roots(|path| {
            read.borrow_mut().push(path.to_owned());
            Ok("{}".to_owned())
        });
        assert_eq!(read.into_inner(), ["root", "other"]);
        let problems: Vec<_> =
            policy.rules()[1].identities().iter().map(Identity::problem).collect();
        assert!(problems[0].unwrap().starts_with("its trusted_root 'root': "), "{problems:?}");
        assert!(problems[0] == problems[1] && problems[1] != problems[2], "{problems:?}");
    }

    #[test]
    fn refuses_what_cannot_be_meant() {
        let rule = |lines: &str| format!("[[rule]]\n{lines}\n");
        let with_key = |lines: &str| rule(&format!("keys = [{{ spki = \"{SPKI}\" }}]\n{lines}"));
        let twice = with_key(r#"packages = ["a/*"]"#) + &with_key(r#"packages = ["b/b", "a/*"]"#);
        let key_twice =
            format!("packages = [\"*\"]\nkeys = [{{spki='{SPKI}'}}, {{spki='{SPKI}'}}]");
        let errors = [
            with_key("packages = []"),
            with_key(r#"packages = ["acme"]"#),
            with_key(r#"packages = ["acme*"]"#), // acme-evil/x as well
            with_key(r#"packages = ["*/exec"]"#),
            with_key(r#"packages = ["Acme/*"]"#),
            with_key("packages = [\"*\"]\nthreshold = 0"),
            with_key("packages = [\"*\"]\nthreshold = 2"),
            with_key("packages = [\"*\"]\nthreshold = -1"),
            with_key("packages = [\"*\"]\nthreshold = 9223372036854775808"),
            rule(&format!(
                "packages = [\"*\"]\nkeys = [{{spki='{SPKI}', not_after = '2027-12-31T00:00:00Z'}}]"
            )),
            rule(&format!(
                "packages = [\"*\"]\nkeys = [{{spki='{SPKI}', not_after = 2016-12-31T23:59:60Z}}]"
            )),
            rule(&format!(
                "packages = [\"*\"]\nkeys = [{{spki='{SPKI}', not_after = 1969-12-31T23:59:59Z}}]"
            )),
            with_key("packages = [\"*\"]\nregistries = []"),
            with_key("packages = [\"*\"]\nattestations = []"),
            with_key("packages = [\"*\"]\nfollow = true"),
            with_key("packages = [\"a/*\", \"b/x\"]\nfollow = true"),
            with_key("packages = [\"*\"]\nattestations = [\"vsa\"]"),
            with_key("package = [\"*\"]"),
            twice,
            rule("packages = [\"*\"]"),
            rule(&key_twice),
            rule("packages = [\"*\"]\nkeys = [{ spki = \"AAAA\" }]"),
            rule(&format!(
                "packages = [\"*\"]\nkeys = [{{spki='{SPKI}', not_after = 2027-01-01}}]"
            )),
            "[revoked]\nkeys = [\"x\"]".into(),
            "[revoked]\ndigests = [\"x\"]".into(),
            "#".repeat(POLICY_MAX + 1),
        ]
        .map(|text| Policy::parse(&text).unwrap_err().to_string());
        insta::assert_snapshot!(errors.join("\n---\n"));
    }

    #[test]
    fn the_page_has_the_form_of_patterns() {
        let page = include_str!("../../../docs/reference/trust.md");
        assert!(page.contains(Pattern::FORM), "{}", Pattern::FORM);
    }
}
