//! Routes that run a program: `192.0.2.0/24/eth0`.

use std::fmt;
use std::net::IpAddr;
use std::str::FromStr;

/// A route of the main table: `192.0.2.0/24/eth0`, `2001:db8::/32/eth0/fe80::1`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Route {
    /// The network; no bit is set behind its length.
    pub network: IpAddr,
    /// Bits of the network.
    pub length: u8,
    /// Where packets leave.
    pub interface: String,
    /// By whom they go; none where who is meant is on the interface.
    pub gateway: Option<IpAddr>,
}

impl FromStr for Route {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Self, &'static str> {
        let parts: Vec<&str> = text.split('/').collect();
        let (network, length, interface, gateway) = match parts[..] {
            [network, length, interface] => (network, length, interface, None),
            [network, length, interface, gateway] => (network, length, interface, Some(gateway)),
            _ => return Err("a route is NETWORK/LENGTH/INTERFACE, or with /GATEWAY behind it"),
        };
        let network: IpAddr =
            network.parse().map_err(|_| "a route begins with an address of IPv4 or IPv6")?;
        let bits = if network.is_ipv4() { 32 } else { 128 };
        let length = length.parse().ok().filter(|length| *length <= bits);
        let length = length.ok_or("a network has at most 32 bits of IPv4, or 128 of IPv6")?;
        if !is_network(network, length) {
            return Err("no bit of a network is set behind its length");
        }
        if interface.is_empty() {
            return Err("behind the network comes an interface");
        }
        let gateway = gateway.map(str::parse::<IpAddr>).transpose();
        let gateway = gateway.map_err(|_| "a gateway is an address of IPv4 or IPv6")?;
        if gateway.is_some_and(|gateway| gateway.is_ipv4() != network.is_ipv4()) {
            return Err("a gateway is of the family of the network");
        }
        Ok(Self { network, length, interface: interface.to_owned(), gateway })
    }
}

fn is_network(address: IpAddr, length: u8) -> bool {
    let (value, bits) = match address {
        IpAddr::V4(address) => (u128::from(u32::from(address)) << 96, u32::from(length)),
        IpAddr::V6(address) => (u128::from(address), u32::from(length)),
    };
    value.checked_shl(bits).unwrap_or(0) == 0
}

impl fmt::Display for Route {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}/{}", self.network, self.length, self.interface)?;
        self.gateway.map_or(Ok(()), |gateway| write!(f, "/{gateway}"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_route_is_read_and_written() {
        for text in [
            "192.0.2.0/24/eth0",
            "0.0.0.0/0/eth0/192.0.2.1",
            "2001:db8::/32/eth0",
            "2001:db8::1/128/lo",
            "::/0/eth0/fe80::1",
        ] {
            assert_eq!(text.parse::<Route>().unwrap().to_string(), text);
        }
        for text in [
            "",
            "192.0.2.0/24",
            "192.0.2.1/24/eth0",
            "192.0.2.0/33/eth0",
            "2001:db8::1/64/eth0",
            "192.0.2.0/24//192.0.2.1",
            "192.0.2.0/24/eth0/fe80::1",
            "192.0.2.0/24/eth0/192.0.2.1/x",
            "eth0",
        ] {
            assert!(text.parse::<Route>().is_err(), "{text}");
        }
    }
}
