use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use proptest::prelude::*;

use super::*;

fn ends_v4((network, prefix): (Ipv4Addr, u32)) -> (u32, u32) {
    let first = network.to_bits();
    (first, first | u32::MAX.checked_shr(prefix).unwrap_or(0))
}

fn ends_v6((network, prefix): (Ipv6Addr, u32)) -> (u128, u128) {
    let first = network.to_bits();
    (first, first | u128::MAX.checked_shr(prefix).unwrap_or(0))
}

fn public_v4(bits: u32) -> bool {
    is_public(IpAddr::V4(Ipv4Addr::from_bits(bits)))
}

fn public_v6(bits: u128) -> bool {
    is_public(IpAddr::V6(Ipv6Addr::from_bits(bits)))
}

/// First and last of every range, as the registries write them: by hand, not from the table.
const RANGES: [(&str, &str); 33] = [
    ("0.0.0.0", "0.255.255.255"),
    ("10.0.0.0", "10.255.255.255"),
    ("100.64.0.0", "100.127.255.255"),
    ("127.0.0.0", "127.255.255.255"),
    ("169.254.0.0", "169.254.255.255"),
    ("172.16.0.0", "172.31.255.255"),
    ("192.0.0.0", "192.0.0.255"),
    ("192.0.2.0", "192.0.2.255"),
    ("192.88.99.0", "192.88.99.255"),
    ("192.168.0.0", "192.168.255.255"),
    ("198.18.0.0", "198.19.255.255"),
    ("198.51.100.0", "198.51.100.255"),
    ("203.0.113.0", "203.0.113.255"),
    ("224.0.0.0", "239.255.255.255"),
    ("240.0.0.0", "255.255.255.255"),
    ("169.254.169.254", "169.254.170.2"),
    ("::", "::1"),
    ("::ffff:0.0.0.0", "::ffff:255.255.255.255"),
    ("::ffff:8.8.8.8", "::ffff:8.8.8.8"),
    ("64:ff9b::", "64:ff9b::ffff:ffff"),
    ("64:ff9b:1::", "64:ff9b:1:ffff:ffff:ffff:ffff:ffff"),
    ("100::", "100::ffff:ffff:ffff:ffff"),
    ("2001::", "2001:1ff:ffff:ffff:ffff:ffff:ffff:ffff"),
    ("2001:2::", "2001:2:0:ffff:ffff:ffff:ffff:ffff"),
    ("2001:db8::", "2001:db8:ffff:ffff:ffff:ffff:ffff:ffff"),
    ("2002::", "2002:ffff:ffff:ffff:ffff:ffff:ffff:ffff"),
    ("3fff::", "3fff:fff:ffff:ffff:ffff:ffff:ffff:ffff"),
    ("5f00::", "5f00:ffff:ffff:ffff:ffff:ffff:ffff:ffff"),
    ("fc00::", "fdff:ffff:ffff:ffff:ffff:ffff:ffff:ffff"),
    ("fd00:ec2::254", "fd00:ec2::254"),
    ("fe80::", "febf:ffff:ffff:ffff:ffff:ffff:ffff:ffff"),
    ("fec0::", "feff:ffff:ffff:ffff:ffff:ffff:ffff:ffff"),
    ("ff00::", "ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff"),
];

#[test]
fn the_first_and_the_last_address_of_every_range_that_is_not_public_is_denied() {
    for (first, last) in RANGES {
        for text in [first, last] {
            let address: Option<IpAddr> = text.parse().ok();
            assert_eq!(address.map(is_public), Some(false), "{text}");
        }
    }
}

#[test]
fn what_lies_right_beside_a_range_is_public_unless_it_is_in_another() {
    for text in [
        "1.0.0.0",
        "9.255.255.255",
        "11.0.0.0",
        "100.63.255.255",
        "100.128.0.0",
        "126.255.255.255",
        "128.0.0.0",
        "169.253.255.255",
        "169.255.0.0",
        "172.15.255.255",
        "172.32.0.0",
        "191.255.255.255",
        "192.0.1.0",
        "192.0.3.0",
        "192.88.98.255",
        "192.88.100.0",
        "192.167.255.255",
        "192.169.0.0",
        "198.17.255.255",
        "198.20.0.0",
        "198.51.99.255",
        "198.51.101.0",
        "203.0.112.255",
        "203.0.114.0",
        "223.255.255.255",
        "8.8.8.8",
        "2000::",
        "2001:200::",
        "2001:db7:ffff:ffff:ffff:ffff:ffff:ffff",
        "2001:db9::",
        "2003::",
        "2606:4700::1111",
        "3ffe:ffff::",
        "3fff:1000::",
        "3fff:ffff:ffff:ffff:ffff:ffff:ffff:ffff",
    ] {
        let address: Option<IpAddr> = text.parse().ok();
        assert_eq!(address.map(is_public), Some(true), "{text}");
    }
}

proptest! {
    #[test]
    fn whatever_lies_in_a_denied_range_is_denied(pick in any::<prop::sample::Index>(), at in any::<u128>()) {
        let (first, last) = ends_v4(DENIED_V4[pick.index(DENIED_V4.len())]);
        let span = u64::from(last - first) + 1;
        let offset = u32::try_from(at % u128::from(span)).unwrap_or(0);
        prop_assert!(!public_v4(first + offset));
        let (first, last) = ends_v6(DENIED_V6[pick.index(DENIED_V6.len())]);
        prop_assert!(!public_v6(first + at % (last - first + 1)));
        // An IPv4 address in any wrapping, and everything outside of what is in use.
        prop_assert!(!public_v6((0xffff_u128 << 32) | (at & 0xffff_ffff)));
        prop_assert!(!public_v6((0x0064_ff9b_u128 << 96) | (at & 0xffff_ffff)));
        prop_assert!((at >> 125) == 1 || !public_v6(at));
    }

    #[test]
    fn what_the_standard_library_knows_as_private_is_never_public(bits in any::<u32>(), wide in any::<u128>()) {
        let v4 = Ipv4Addr::from_bits(bits);
        let known = v4.is_private() || v4.is_loopback() || v4.is_link_local() || v4.is_multicast()
            || v4.is_broadcast() || v4.is_documentation() || v4.is_unspecified();
        prop_assert!(!(known && is_public(IpAddr::V4(v4))), "{}", v4);
        let v6 = Ipv6Addr::from_bits(wide);
        let known = v6.is_loopback() || v6.is_multicast() || v6.is_unique_local() || v6.is_unspecified()
            || v6.is_unicast_link_local() || v6.to_ipv4_mapped().is_some();
        prop_assert!(!(known && is_public(IpAddr::V6(v6))), "{}", v6);
    }
}

#[test]
fn a_url_is_judged_by_what_it_says_in_any_spelling() {
    for right in [
        "https://example.com/hook",
        "https://example.com:8443/hook?tenant=1",
        "https://8.8.8.8/",
        "https://[2606:4700::1111]/",
    ] {
        assert!(parse(right, false).is_ok(), "{right}");
    }
    for (wrong, why) in [
        ("nonsense", "it is not a URL"),
        ("http://example.com/", "it must begin with https://"),
        ("ftp://example.com/", "it must begin with https://"),
        ("https://user@example.com/", "it must not hold a user name or a password"),
        ("https://:pass@example.com/", "it must not hold a user name or a password"),
        ("https://example.com/#part", "it must not have a fragment (#)"),
        ("https://example.com:22/", "its port must be 443 or 8443"),
        ("https://127.0.0.1/", PRIVATE),
        ("https://0x7f.1/", PRIVATE),
        ("https://2130706433/", PRIVATE),
        ("https://017700000001/", PRIVATE),
        ("https://127.0.0.1./", PRIVATE),
        ("https://[::1]/", PRIVATE),
        ("https://[::ffff:127.0.0.1]/", PRIVATE),
        ("https://169.254.169.254/latest/meta-data", PRIVATE),
        ("https://[fd00:ec2::254]/", PRIVATE),
        ("https://１２７.0.0.1/", PRIVATE),
    ] {
        assert_eq!(parse(wrong, false).err(), Some(why), "{wrong}");
    }
    assert_eq!(
        parse(&format!("https://example.com/{}", "x".repeat(2048)), false).err(),
        Some("it has more than 2048 characters")
    );
    assert!(parse("http://127.0.0.1:7777/hook", true).is_ok());
    assert_eq!(parse("file:///etc/passwd", true).err(), Some("it must begin with https://"));
}
