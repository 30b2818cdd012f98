//! Where callbacks may be posted to: public addresses alone, so that nobody reaches through us what stands behind us.
//! Pure.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use reqwest::Url;

/// Ports that an endpoint may listen on.
const PORTS: [u16; 2] = [443, 8443];
/// The longest URL.
pub const LONGEST_URL: usize = 2048;

const fn v4(a: u8, b: u8, c: u8, prefix: u32) -> (Ipv4Addr, u32) {
    (Ipv4Addr::new(a, b, c, 0), prefix)
}

const fn v6(a: u16, b: u16, c: u16, prefix: u32) -> (Ipv6Addr, u32) {
    (Ipv6Addr::new(a, b, c, 0, 0, 0, 0, 0), prefix)
}

/// What is not public (IANA, IPv4 Special-Purpose Address Registry), with its prefix length.
pub const DENIED_V4: [(Ipv4Addr, u32); 15] = [
    v4(0, 0, 0, 8),       // "this network"
    v4(10, 0, 0, 8),      // private, RFC 1918
    v4(100, 64, 0, 10),   // carriers' NAT, RFC 6598
    v4(127, 0, 0, 8),     // loopback
    v4(169, 254, 0, 16),  // link-local, the metadata of clouds
    v4(172, 16, 0, 12),   // private
    v4(192, 0, 0, 24),    // protocol assignments
    v4(192, 0, 2, 24),    // documentation
    v4(192, 88, 99, 24),  // 6to4 relays
    v4(192, 168, 0, 16),  // private
    v4(198, 18, 0, 15),   // benchmarks
    v4(198, 51, 100, 24), // documentation
    v4(203, 0, 113, 24),  // documentation
    v4(224, 0, 0, 4),     // multicast
    v4(240, 0, 0, 4),     // reserved, broadcast
];

/// What of IPv6 is in use in public (IANA, IPv6 Global Unicast Address Assignments). Everything else is denied:
/// unspecified, loopback, IPv4-mapped, NAT64, unique local, link-local, multicast.
pub const PUBLIC_V6: (Ipv6Addr, u32) = v6(0x2000, 0, 0, 3);

/// And what of that is not public all the same (IANA, IPv6 Special-Purpose Address Registry).
pub const DENIED_V6: [(Ipv6Addr, u32); 4] = [
    v6(0x2001, 0, 0, 23),     // protocol assignments: Teredo, benchmarks, ORCHID
    v6(0x2001, 0xdb8, 0, 32), // documentation
    v6(0x2002, 0, 0, 16),     // 6to4, which holds any IPv4 address
    v6(0x3fff, 0, 0, 20),     // documentation
];

/// Whether an address is public.
pub fn is_public(address: IpAddr) -> bool {
    match address {
        IpAddr::V4(address) => !DENIED_V4.iter().any(|range| is_in_v4(address, *range)),
        IpAddr::V6(address) => {
            is_in_v6(address, PUBLIC_V6) && !DENIED_V6.iter().any(|range| is_in_v6(address, *range))
        }
    }
}

fn is_in_v4(address: Ipv4Addr, (network, prefix): (Ipv4Addr, u32)) -> bool {
    (address.to_bits() ^ network.to_bits()).leading_zeros() >= prefix
}

fn is_in_v6(address: Ipv6Addr, (network, prefix): (Ipv6Addr, u32)) -> bool {
    (address.to_bits() ^ network.to_bits()).leading_zeros() >= prefix
}

/// A URL that may be posted to as far as its text tells; its host's name is still to be resolved. `is_open`: for tests and
/// development, http and any port and address.
pub fn parse(text: &str, is_open: bool) -> Result<Url, &'static str> {
    if text.len() > LONGEST_URL {
        return Err("it has more than 2048 characters");
    }
    let url = Url::parse(text).map_err(|_| "it is not a URL")?;
    let schemes: &[&str] = if is_open { &["https", "http"] } else { &["https"] };
    if !schemes.contains(&url.scheme()) {
        return Err("it must begin with https://");
    }
    if !url.username().is_empty() || url.password().is_some() {
        return Err("it must not hold a user name or a password");
    }
    if url.fragment().is_some() {
        return Err("it must not have a fragment (#)");
    }
    let port = url.port_or_known_default().unwrap_or_default();
    if !is_open && !PORTS.contains(&port) {
        return Err("its port must be 443 or 8443");
    }
    match literal(&url) {
        Some(address) if !is_open && !is_public(address) => Err(PRIVATE),
        Some(_) => Ok(url),
        None if url.host_str().is_some_and(|host| !host.is_empty()) => Ok(url),
        None => Err("it names no host"),
    }
}

/// What is said of an address that may not be posted to.
pub const PRIVATE: &str = "its host leads to an address that is not public";

/// The address in the URL, where there is one and no name: no resolver is asked for that.
pub fn literal(url: &Url) -> Option<IpAddr> {
    // URLs have been through the WHATWG parser: `0x7f.1` and `2130706433` are 127.0.0.1 by now.
    let host = url.host_str()?;
    host.strip_prefix('[').and_then(|host| host.strip_suffix(']')).unwrap_or(host).parse().ok()
}

#[cfg(test)]
#[path = "address_tests.rs"]
mod tests;
