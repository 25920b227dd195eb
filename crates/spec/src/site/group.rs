//! Sockets that share an address: `udp/127.0.0.1:53`.

use std::fmt;
use std::net::SocketAddr;
use std::str::FromStr;

/// The sockets that are bound to one address with `SO_REUSEPORT`: `tcp/0.0.0.0:80`, `udp/[::]:53`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Group {
    /// Of UDP instead of TCP.
    pub udp: bool,
    /// As they are bound.
    pub address: SocketAddr,
}

impl FromStr for Group {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Self, &'static str> {
        let (protocol, address) =
            text.split_once('/').ok_or("sockets are tcp/ADDRESS:PORT or udp/ADDRESS:PORT")?;
        let udp = match protocol {
            "tcp" => false,
            "udp" => true,
            _ => return Err("sockets that share an address are of tcp or udp"),
        };
        let address: SocketAddr = address.parse().map_err(
            |_| "an address of sockets is 127.0.0.1:PORT or [::1]:PORT, as they are bound",
        )?;
        if address.port() == 0 {
            return Err("sockets are bound to a port from 1 on");
        }
        Ok(Self { udp, address })
    }
}

impl fmt::Display for Group {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", if self.udp { "udp" } else { "tcp" }, self.address)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_group_of_sockets_is_read_and_written() {
        for text in ["tcp/0.0.0.0:80", "udp/[::]:53", "udp/127.0.0.1:65535"] {
            assert_eq!(text.parse::<Group>().unwrap().to_string(), text);
        }
        for text in ["", "tcp", "tcp/80", "sctp/1.2.3.4:1", "udp/1.2.3.4:0", "udp/localhost:53"] {
            assert!(text.parse::<Group>().is_err(), "{text}");
        }
    }
}
