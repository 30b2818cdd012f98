//! What tells a machine from a person, and where events say it.

use std::net::IpAddr;
use std::time::Duration;

use ipnet::IpNet;
use serde_json::{Map, Value};

/// Programs that follow links and load images by themselves, by a piece of what they call themselves, in small letters:
/// mail scanners, crawlers, what messengers preview links with, HTTP libraries. `bot` alone is part of telephones' names.
const AGENTS: [&str; 27] = [
    "apache-httpclient",
    "applebot",
    "axios/",
    "barracuda",
    "bingbot",
    "bingpreview",
    "crawler",
    "curl/",
    "discordbot",
    "facebookexternalhit",
    "go-http-client",
    "googlebot",
    "headlesschrome",
    "java/",
    "libwww-perl",
    "line-poker",
    "linkedinbot",
    "mimecast",
    "node-fetch",
    "phantomjs",
    "proofpoint",
    "python-requests",
    "python-urllib",
    "skypeuripreview",
    "slackbot",
    "telegrambot",
    "wget/",
];

/// Amazon's largest networks, whole blocks that it bought (GE 2018, MIT 2017, AMPRNet 2019). What is listed is a machine's
/// only around a delivery, so a list that is not complete, as none is for long, errs on the side of people.
const DATA_CENTERS: [&str; 3] = ["3.0.0.0/8", "18.128.0.0/9", "44.192.0.0/10"];

/// What tells a machine from a person.
#[derive(Clone, Debug, PartialEq)]
pub struct Rules {
    /// Whatever comes from there is a machine's.
    pub networks: Networks,
    /// What comes from there is, in the first moments after a delivery and before it.
    pub data_centers: Networks,
    /// Pieces of user agents, in small letters.
    pub user_agents: Vec<String>,
    /// What comes within this span of each other is a burst.
    pub burst: Duration,
    /// How long the first moments after a delivery are.
    pub after_delivery: Duration,
}

impl Default for Rules {
    fn default() -> Self {
        Self {
            data_centers: DATA_CENTERS.into_iter().filter_map(|net| net.parse().ok()).collect(),
            user_agents: AGENTS.map(str::to_owned).to_vec(),
            ..Self::bare()
        }
    }
}

impl Rules {
    /// No networks and no programs: spans alone.
    pub fn bare() -> Self {
        Self {
            networks: Networks::default(),
            data_centers: Networks::default(),
            user_agents: Vec::new(),
            burst: Duration::from_secs(1),
            after_delivery: Duration::from_secs(10),
        }
    }

    /// Whether a program that calls itself so is excluded.
    pub(super) fn excludes_agent(&self, agent: &str) -> bool {
        let agent = agent.to_lowercase();
        self.user_agents.iter().any(|piece| agent.contains(piece))
    }
}

/// Networks, however many: looked up by halving.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Networks {
    /// In order, none touching another.
    pub(super) nets: Vec<IpNet>,
}

impl FromIterator<IpNet> for Networks {
    fn from_iter<T: IntoIterator<Item = IpNet>>(networks: T) -> Self {
        let given: Vec<IpNet> = networks.into_iter().collect();
        let mut nets = IpNet::aggregate(&given);
        nets.sort_unstable();
        Self { nets }
    }
}

impl Networks {
    /// Whether one of them holds this address.
    pub fn contain(&self, address: IpAddr) -> bool {
        let address = address.to_canonical();
        let behind = self.nets.partition_point(|net| net.network() <= address);
        behind.checked_sub(1).is_some_and(|at| self.nets[at].contains(&address))
    }
}

/// An entry by any of the names that providers give it: at the top, or one level down, where some keep what is said of
/// the open or the click.
fn text<'a>(detail: &'a Map<String, Value>, names: &[&str]) -> Option<&'a str> {
    let named = |map: &'a Map<String, Value>| names.iter().find_map(|name| map.get(*name)?.as_str());
    named(detail).or_else(|| ["open", "click"].iter().find_map(|part| named(detail.get(*part)?.as_object()?)))
}

/// From where it came.
pub(super) fn address(detail: &Map<String, Value>) -> Option<IpAddr> {
    text(detail, &["ip", "ipAddress", "ip_address"])?.trim().parse().ok()
}

/// What the program that did it calls itself.
pub(super) fn user_agent(detail: &Map<String, Value>) -> Option<&str> {
    text(detail, &["useragent", "userAgent", "user_agent"])
}

/// Which link was followed.
pub(super) fn link(detail: &Map<String, Value>) -> Option<&str> {
    text(detail, &["url", "link"])
}
