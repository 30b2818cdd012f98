//! The sample bookings of `examples/`: sound, varied, usable on any day.

use std::collections::BTreeSet;

use kakitome::clock::Timestamp;
use kakitome::notification::content::batch::{self, Form};
use kakitome::notification::content::parse;
use kakitome::notification::{Notification, OnUnknown};

use super::LIMITS;

#[test]
fn the_thousand_sample_bookings_are_sound_and_varied() {
    let file = std::fs::read(concat!(env!("CARGO_MANIFEST_DIR"), "/examples/bookings.ndjson")).unwrap();
    assert!(file.len() < 4_000_000);
    let entries = batch::split(&file, Form::of(&file), 1000).unwrap();
    let all: Vec<_> = entries
        .iter()
        .map(|e| {
            parse(e.body, "default", &LIMITS).unwrap_or_else(|faults| panic!("line {}: {faults:?}", e.number))
        })
        .collect();
    assert_eq!(all.len(), 1000);
    let keys: BTreeSet<_> = all.iter().map(|n| n.idempotency_key.clone().unwrap()).collect();
    assert_eq!(keys.len(), 1000);

    let count = |is: &dyn Fn(&Notification) -> bool| all.iter().filter(|n| is(n)).count();
    let distinct = |of: &dyn Fn(&Notification) -> String| all.iter().map(of).collect::<BTreeSet<_>>().len();
    assert!((20..=80).contains(&count(&|n| n.to[0].email.breaks_rfc())));
    assert!(count(&|n| n.to[0].email.domain().starts_with("xn--")) > 0);
    assert!(count(&|n| n.text.is_some() && n.html.is_some()) > 500);
    assert!(count(&|n| n.template.as_ref().is_some_and(|t| !t.data.is_empty())) > 80);
    assert!(count(&|n| n.tenant == "default") > 600);
    assert!((4..=5).contains(&distinct(&|n| n.tenant.clone())));
    assert!(distinct(&|n| n.metadata["language"].clone()) >= 5);
    assert_eq!(distinct(&|n| n.categories[1].clone()), 6);
    assert_eq!(distinct(&|n| n.categories[2].clone()), 6);
    for kind in ["application/pdf", "text/calendar"] {
        assert!(count(&|n| n.attachments.iter().any(|a| a.content_type == kind)) > 100, "{kind}");
    }
    for (what, least) in [
        (count(&|n| !n.cc.is_empty()), 100),
        (count(&|n| !n.bcc.is_empty()), 100),
        (count(&|n| n.reply_to.is_some()), 100),
        (count(&|n| n.batch.is_some()), 50),
        (count(&|n| n.useful_until.is_some()), 100),
        (count(&|n| n.on_unknown == OnUnknown::Hold), 20),
    ] {
        assert!(what > least, "{what} of more than {least}");
    }
    // Usable on any day: no deadline that could have passed, no wait that could still lie ahead.
    let starts = |at: Timestamp, with: &str| at.to_string().starts_with(with);
    assert!(all.iter().filter_map(|n| n.useful_until).all(|at| starts(at, "2099-")));
    assert!(all.iter().filter_map(|n| n.deliver_at).all(|at| starts(at, "2026-01-")));
}
