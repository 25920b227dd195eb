//! What a registry asks for before it answers.

use reqwest::header::{HeaderMap, WWW_AUTHENTICATE};

/// What a `WWW-Authenticate` header asks for (RFC 9110 §11.6.1, distribution's token specification).
#[derive(Debug, PartialEq, Eq)]
pub enum Challenge {
    /// A name and a password.
    Basic,
    /// A token.
    Bearer {
        /// Where it is asked for.
        realm: String,
        /// For which service.
        service: String,
    },
}

impl Challenge {
    /// A Bearer challenge where there is one, else a Basic one.
    pub(super) fn find(headers: &HeaderMap) -> Option<Self> {
        let values = headers.get_all(WWW_AUTHENTICATE);
        let challenges = values.iter().filter_map(|v| Self::parse(v.to_str().ok()?));
        challenges.max_by_key(|challenge| matches!(challenge, Self::Bearer { .. }))
    }

    /// Reads one value of the header; none where it is neither.
    #[must_use]
    pub fn parse(value: &str) -> Option<Self> {
        let (scheme, rest) = value.trim().split_once(' ').unwrap_or((value.trim(), ""));
        if scheme.eq_ignore_ascii_case("basic") {
            return Some(Self::Basic);
        }
        if !scheme.eq_ignore_ascii_case("bearer") {
            return None;
        }
        let mut realm = None;
        let mut service = String::new();
        let mut rest = rest.trim();
        while let Some((name, after)) = rest.split_once('=') {
            let (value, after) = match after.strip_prefix('"') {
                Some(quoted) => quoted.split_once('"')?,
                None => after.split_at(after.find(',').unwrap_or(after.len())),
            };
            match name.trim_matches([' ', ',']) {
                "realm" => realm = Some(value.to_owned()),
                "service" => value.clone_into(&mut service),
                _ => (),
            }
            rest = after;
        }
        Some(Self::Bearer { realm: realm?, service })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn challenges_are_read_as_servers_write_them() {
        let bearer = |realm: &str, service: &str| {
            Some(Challenge::Bearer { realm: realm.into(), service: service.into() })
        };
        let docker = r#"Bearer realm="https://auth.docker.io/token",service="registry.docker.io",scope="a:b:pull,push""#;
        assert_eq!(
            Challenge::parse(docker),
            bearer("https://auth.docker.io/token", "registry.docker.io")
        );
        assert_eq!(
            Challenge::parse(r#"bearer service=x, realm=https://a/?b"#),
            bearer("https://a/?b", "x")
        );
        assert_eq!(Challenge::parse(r#"Basic realm="x""#), Some(Challenge::Basic));
        assert_eq!(Challenge::parse("basic"), Some(Challenge::Basic));
        for broken in ["", "Negotiate x", "Bearer", r#"Bearer service="x""#, r#"Bearer realm="x"#] {
            assert_eq!(Challenge::parse(broken), None, "{broken}");
        }
    }

    #[test]
    fn a_bearer_challenge_goes_before_a_basic_one() {
        let mut headers = HeaderMap::new();
        headers.append(WWW_AUTHENTICATE, "Bearer realm=\"https://a\"".parse().unwrap());
        headers.append(WWW_AUTHENTICATE, "Basic".parse().unwrap());
        assert!(matches!(Challenge::find(&headers), Some(Challenge::Bearer { .. })));
    }
}
