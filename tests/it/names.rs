//! The names that closed sets go by outside.

use std::collections::BTreeSet;
use std::fmt::{Debug, Display};

use kakitome::alerts::check::{AlertName, Severity};
use kakitome::api::auth::Scope;
use kakitome::engagement::MachineReason;
use kakitome::feed::Told;
use kakitome::jobs::Action;
use kakitome::journal::Kind;
use kakitome::message_log::Lacks;
use kakitome::notification::status::Status;
use kakitome::notification::status::recipient::RecipientStatus;
use kakitome::{storm, suppression};
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::Value;

/// Whether serde writes and reads each of these by its own name.
fn holds<T: Serialize + DeserializeOwned + Display + Debug + PartialEq>(all: &[T]) {
    for one in all {
        let written = serde_json::to_value(one).unwrap();
        assert_eq!(written, Value::from(one.to_string()));
        assert_eq!(serde_json::from_value::<T>(written).unwrap(), *one);
    }
}

#[test]
fn what_goes_by_a_name_is_written_and_read_under_it() {
    holds(&Status::ALL);
    holds(&Told::ALL);
    holds(&suppression::Reason::ALL);
    holds(&MachineReason::ALL);
    holds(&Lacks::ALL);
    holds(&Action::ALL);
    holds(&Severity::ALL);
    let shown: Vec<_> = RecipientStatus::ALL.iter().copied().filter(|one| one.shown() == *one).collect();
    holds(&shown);
}

#[test]
fn a_name_belongs_to_one() {
    fn distinct<T: Copy + Debug + PartialEq>(
        all: &[T],
        name: fn(T) -> &'static str,
        named: fn(&str) -> Option<T>,
    ) {
        assert_eq!(all.iter().map(|one| name(*one)).collect::<BTreeSet<_>>().len(), all.len());
        assert!(all.iter().all(|one| named(name(*one)) == Some(*one)));
        assert_eq!(named(""), None);
    }
    distinct(&Status::ALL, Status::as_str, Status::named);
    distinct(&RecipientStatus::ALL, RecipientStatus::as_str, RecipientStatus::named);
    distinct(&Kind::ALL, Kind::as_str, Kind::named);
    distinct(&AlertName::ALL, AlertName::as_str, AlertName::named);
    distinct(&Scope::ALL, Scope::as_str, Scope::named);
    distinct(&storm::Reason::ALL, storm::Reason::as_str, storm::Reason::named);
}
