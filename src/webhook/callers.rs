//! Who may post now, by address. Cheap enough to ask before a byte of a body is read or a signature looked at.
//!
//! Only addresses that never sent anything genuine are bounded: behind a proxy everybody has one address, and a
//! stranger's forgeries must not shut the provider out.

use std::collections::HashMap;
use std::net::{IpAddr, Ipv6Addr};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use crate::clock::Timestamp;

/// Refused posts are counted over so long.
const WINDOW: Duration = Duration::from_secs(60);
/// Who sent a genuine post within this time is not bounded.
const GENUINE_FOR: Duration = Duration::from_secs(3600);
/// Addresses that are remembered. Those beyond share one account.
const MOST_KNOWN: usize = 4096;

/// What an address that never sent anything genuine may do.
#[derive(Clone, Copy, Debug)]
pub(super) struct Bounds {
    /// Refused posts in a minute.
    pub(super) refused: u32,
    /// Posts at once.
    pub(super) open: usize,
    /// Bytes of their bodies at once.
    pub(super) bytes: usize,
}

/// Every address that posted lately. Cheap to clone; every clone is the same.
#[derive(Clone, Debug, Default)]
pub(super) struct Callers(Arc<Mutex<HashMap<IpAddr, Caller>>>);

#[derive(Clone, Copy, Debug, Default)]
struct Caller {
    since: Timestamp,
    refused: u32,
    open: usize,
    bytes: usize,
    genuine_at: Option<Timestamp>,
}

/// The right to one post, until it is dropped.
#[derive(Debug)]
pub(super) struct Admitted {
    callers: Callers,
    address: IpAddr,
    bytes: usize,
}

impl Callers {
    /// Whether a post of so many bytes may come from `peer`; else when to come back.
    pub(super) fn admit(
        &self,
        peer: IpAddr,
        bytes: usize,
        now: Timestamp,
        bounds: Bounds,
    ) -> Result<Admitted, Duration> {
        let mut known = self.known();
        let address = account(&mut known, network(peer), now);
        let caller = known.entry(address).or_default();
        if now.since(caller.since) >= WINDOW {
            (caller.since, caller.refused) = (now, 0);
        }
        if !caller.is_genuine(now) {
            if caller.refused >= bounds.refused {
                return Err(WINDOW.saturating_sub(now.since(caller.since)));
            }
            if caller.open >= bounds.open || (caller.open > 0 && caller.bytes + bytes > bounds.bytes) {
                return Err(Duration::from_secs(1));
            }
        }
        caller.open += 1;
        caller.bytes += bytes;
        Ok(Admitted { callers: self.clone(), address, bytes })
    }

    fn known(&self) -> MutexGuard<'_, HashMap<IpAddr, Caller>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Caller {
    fn is_genuine(&self, now: Timestamp) -> bool {
        self.genuine_at.is_some_and(|at| now.since(at) < GENUINE_FOR)
    }

    fn is_forgettable(&self, now: Timestamp) -> bool {
        self.open == 0 && !self.is_genuine(now) && now.since(self.since) >= WINDOW
    }
}

impl Admitted {
    /// The post was what it should be, or not.
    pub(super) fn judge(&self, is_genuine: bool, now: Timestamp) {
        if let Some(caller) = self.callers.known().get_mut(&self.address) {
            if is_genuine {
                caller.genuine_at = Some(now);
            } else {
                caller.refused = caller.refused.saturating_add(1);
            }
        }
    }
}

impl Drop for Admitted {
    fn drop(&mut self) {
        if let Some(caller) = self.callers.known().get_mut(&self.address) {
            caller.open = caller.open.saturating_sub(1);
            caller.bytes = caller.bytes.saturating_sub(self.bytes);
        }
    }
}

/// The account of this address: its own while there is room.
fn account(known: &mut HashMap<IpAddr, Caller>, address: IpAddr, now: Timestamp) -> IpAddr {
    if known.contains_key(&address) {
        return address;
    }
    if known.len() >= MOST_KNOWN {
        known.retain(|_, caller| !caller.is_forgettable(now));
    }
    if known.len() < MOST_KNOWN { address } else { IpAddr::V6(Ipv6Addr::UNSPECIFIED) }
}

/// Whoever has an IPv6 address has 2^64 of them.
fn network(address: IpAddr) -> IpAddr {
    match address.to_canonical() {
        IpAddr::V4(address) => IpAddr::V4(address),
        IpAddr::V6(address) => IpAddr::V6(Ipv6Addr::from_bits(address.to_bits() >> 64 << 64)),
    }
}

#[cfg(test)]
#[expect(clippy::unwrap_used, reason = "a failing step fails the test")]
mod tests {
    use super::*;

    const BOUNDS: Bounds = Bounds { refused: 3, open: 2, bytes: 100 };
    const PEER: IpAddr = IpAddr::V4(std::net::Ipv4Addr::new(192, 0, 2, 1));

    fn at(seconds: i64) -> Timestamp {
        Timestamp::from_ms(1_800_000_000_000 + seconds * 1000)
    }

    #[test]
    fn an_address_whose_posts_are_refused_is_turned_away_until_the_minute_is_over() {
        let callers = Callers::default();
        for _ in 0..3 {
            callers.admit(PEER, 1, at(0), BOUNDS).unwrap().judge(false, at(0));
        }
        assert_eq!(callers.admit(PEER, 1, at(20), BOUNDS).unwrap_err(), Duration::from_secs(40));
        let other = IpAddr::V4(std::net::Ipv4Addr::new(192, 0, 2, 2));
        assert!(callers.admit(other, 1, at(20), BOUNDS).is_ok());
        assert!(callers.admit(PEER, 1, at(60), BOUNDS).is_ok());
    }

    #[test]
    fn an_address_that_also_sends_genuine_posts_is_never_turned_away() {
        let callers = Callers::default();
        callers.admit(PEER, 1, at(0), BOUNDS).unwrap().judge(true, at(0));
        for _ in 0..100 {
            callers.admit(PEER, 1, at(1), BOUNDS).unwrap().judge(false, at(1));
        }
        assert!(callers.admit(PEER, 1, at(1), BOUNDS).is_ok());
    }

    #[test]
    fn a_stranger_has_few_posts_and_few_bytes_at_once() {
        let callers = Callers::default();
        let first = callers.admit(PEER, 60, at(0), BOUNDS).unwrap();
        assert!(callers.admit(PEER, 60, at(0), BOUNDS).is_err(), "bytes");
        let second = callers.admit(PEER, 40, at(0), BOUNDS).unwrap();
        assert!(callers.admit(PEER, 0, at(0), BOUNDS).is_err(), "posts");
        drop((first, second));
        assert!(callers.admit(PEER, 60, at(0), BOUNDS).is_ok());
    }

    #[test]
    fn many_addresses_cost_bounded_memory_and_one_network_is_one_caller() {
        let callers = Callers::default();
        for n in 0..10_000_u32 {
            let peer = IpAddr::V4(std::net::Ipv4Addr::from_bits(n));
            drop(callers.admit(peer, 1, at(0), BOUNDS));
        }
        assert!(callers.known().len() <= MOST_KNOWN + 1);
        assert_eq!(network("2001:db8::1".parse().unwrap()), network("2001:db8::ffff:1".parse().unwrap()));
    }
}
