//! The HTTP clients of one registry: whom they trust, and to whom they show a certificate.

use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};

use reqwest::{Certificate, Client, Identity, Url};
use skep_spec::chain;

use super::error::RegistryError;
use super::http::TimeLimits;
use super::is_loopback;

/// How a registry is spoken to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Transport {
    /// HTTP over TLS.
    Tls,
    /// HTTP that nobody asked for: it does not leave this machine.
    Near,
    /// HTTP that was asked for, wherever it goes.
    Plain,
}

impl Transport {
    pub(super) fn of(registry: &str, plain_http: bool, has_tls: bool) -> Self {
        match (plain_http, is_loopback(registry) && !has_tls) {
            (true, _) => Self::Plain,
            (false, true) => Self::Near,
            (false, false) => Self::Tls,
        }
    }

    pub(super) fn is_plain(self) -> bool {
        self != Self::Tls
    }

    /// Whether a password may be sent to an address.
    pub(super) fn may_tell(self, url: &Url) -> bool {
        match (url.scheme(), self) {
            ("https", _) | ("http", Self::Plain) => true,
            ("http", Self::Near) => is_loopback(&server(url)),
            _ => false,
        }
    }
}

/// What TLS needs beside the machine's CAs.
#[derive(Clone, Debug, Default)]
pub(super) struct Tls {
    /// CAs that count for this registry as well.
    pub cas: Vec<Certificate>,
    /// What this machine shows to it.
    pub identity: Option<Identity>,
}

/// The clients of one registry, each made when it is needed: the machine's CAs take longer to read than a small package
/// takes to come, so a registry without TLS has them only once it sends on to a server that speaks TLS.
pub(super) struct Clients {
    registry: String,
    limits: TimeLimits,
    tls: Tls,
    made: Mutex<HashMap<Kind, Client>>,
}

#[derive(Clone, Copy, PartialEq, Eq, Hash)]
struct Kind {
    /// Reads the CAs.
    trusting: bool,
    /// Shows the certificate: to the registry alone, not to whom it sends us.
    known: bool,
    /// Waits for an answer as long as something is sent.
    patient: bool,
    /// Asks no proxy: what goes to this machine stays on it.
    near: bool,
}

impl Clients {
    pub(super) fn new(registry: &str, limits: TimeLimits, tls: Tls) -> Self {
        Self { registry: registry.to_owned(), limits, tls, made: Mutex::default() }
    }

    /// The client for an address, which something is sent to or not.
    pub(super) fn at(&self, url: &Url, patient: bool) -> Result<Client, RegistryError> {
        let trusting = url.scheme() == "https";
        let known = trusting && self.tls.identity.is_some() && self.is_registry(url);
        let near = is_loopback(&server(url));
        let kind = Kind { trusting, known, patient, near };
        let mut made = self.made.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(client) = made.get(&kind) {
            return Ok(client.clone());
        }
        let client = self.client(kind).map_err(|error| RegistryError::Client {
            registry: self.registry.clone(),
            why: chain(&error),
        })?;
        made.insert(kind, client.clone());
        Ok(client)
    }

    /// Whether an address is the registry's own, with its port or without the one that is usual.
    fn is_registry(&self, url: &Url) -> bool {
        let own = Url::parse(&format!("{}://{}/", url.scheme(), self.registry));
        own.is_ok_and(|own| own.origin() == url.origin())
    }

    fn client(&self, kind: Kind) -> reqwest::Result<Client> {
        let mut builder = Client::builder()
            .user_agent(concat!("skep/", env!("CARGO_PKG_VERSION")))
            .connect_timeout(self.limits.connect)
            // Followed by hand: each hop is checked and goes without credentials.
            .redirect(reqwest::redirect::Policy::none())
            .referer(false);
        if !kind.patient {
            builder = builder.read_timeout(self.limits.idle);
        }
        builder = match kind.trusting {
            false => builder.tls_certs_only([]),
            true if self.tls.cas.is_empty() => builder,
            true => builder.tls_certs_merge(self.tls.cas.iter().cloned()),
        };
        if kind.near {
            builder = builder.no_proxy();
        }
        if let Some(identity) = self.tls.identity.as_ref().filter(|_| kind.known) {
            builder = builder.identity(identity.clone());
        }
        builder.build()
    }
}

/// The server that an address names: `host[:port]`.
pub(super) fn server(url: &Url) -> String {
    let host = url.host_str().unwrap_or_default();
    url.port().map_or_else(|| host.to_owned(), |port| format!("{host}:{port}"))
}

/// What rustls says of a certificate, in words where it gives only a name.
pub(super) fn of_certificate(why: &str) -> String {
    match why {
        "UnknownIssuer" => "nobody whom this machine trusts has issued it".to_owned(),
        why if why.contains("CaUsedAsEndEntity") => {
            "it is a CA's own, which a server may not show: give the server one that the CA issued"
                .to_owned()
        }
        why => why.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn http_that_nobody_asked_for_stays_on_this_machine() {
        let of = Transport::of;
        assert_eq!(of("localhost:5000", false, false), Transport::Near);
        assert_eq!(of("localhost:5000", true, false), Transport::Plain);
        assert_eq!(of("localhost:5000", false, true), Transport::Tls);
        assert_eq!(of("hub.test", false, false), Transport::Tls);
        assert_eq!(of("hub.test", true, false), Transport::Plain);
    }

    #[test]
    fn a_registry_is_known_with_its_port_and_without_the_usual_one() {
        for (registry, url, is_its) in [
            ("hub.test", "https://hub.test/v2/", true),
            ("hub.test:443", "https://hub.test/v2/", true),
            ("hub.test", "https://hub.test:443/v2/", true),
            ("hub.test:5000", "https://hub.test:5000/v2/", true),
            ("[::1]:443", "https://[::1]/v2/", true),
            ("hub.test:5000", "https://hub.test/v2/", false),
            ("hub.test", "https://hub.test:5000/v2/", false),
            ("hub.test", "https://elsewhere.test/v2/", false),
        ] {
            let clients = Clients::new(registry, TimeLimits::default(), Tls::default());
            assert_eq!(clients.is_registry(&url.parse().unwrap()), is_its, "{registry} {url}");
        }
    }
}
