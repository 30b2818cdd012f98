//! Whether somebody on the list gets a mail all the same. Pure.

use std::collections::BTreeSet;

use super::{Reason, Reasons};
use crate::notification::Priority;

/// What tenants allow.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Policy {
    /// Transactional mail goes to people who unsubscribed, for every tenant.
    pub through_unsubscribe: bool,
    /// The same for these tenants.
    pub through_unsubscribe_of: BTreeSet<String>,
}

impl Policy {
    fn lets_through(&self, tenant: &str, priority: Priority) -> bool {
        priority == Priority::Transactional
            && (self.through_unsubscribe || self.through_unsubscribe_of.contains(tenant))
    }
}

/// Why a mail of this tenant and priority is not sent to somebody against whom these reasons stand: the gravest; `None`:
/// it is sent. Only an unsubscription can be passed over, and only where the tenant allows it.
pub fn verdict(tenant: &str, priority: Priority, reasons: Reasons, policy: &Policy) -> Option<Reason> {
    let counts = |reason: &Reason| *reason != Reason::Unsubscribe || !policy.lets_through(tenant, priority);
    reasons.iter().find(counts)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn transactional_mail_passes_unsubscribes_where_allowed_and_never_anything_else() {
        let policy = Policy { through_unsubscribe_of: ["inn".to_owned()].into(), ..Policy::default() };
        let all = Policy { through_unsubscribe: true, ..Policy::default() };
        let of = |reasons: &[Reason]| reasons.iter().copied().collect::<Reasons>();
        let unsubscribed = of(&[Reason::Unsubscribe]);
        for (tenant, priority, policy, expected) in [
            ("inn", Priority::Transactional, &Policy::default(), Some(Reason::Unsubscribe)),
            ("inn", Priority::Transactional, &policy, None),
            ("hotel", Priority::Transactional, &policy, Some(Reason::Unsubscribe)),
            ("inn", Priority::Bulk, &policy, Some(Reason::Unsubscribe)),
            ("hotel", Priority::Transactional, &all, None),
            ("hotel", Priority::Bulk, &all, Some(Reason::Unsubscribe)),
        ] {
            assert_eq!(verdict(tenant, priority, unsubscribed, policy), expected, "{tenant} {priority:?}");
        }
        for reason in Reason::ALL.into_iter().filter(|reason| *reason != Reason::Unsubscribe) {
            for reasons in [of(&[reason]), of(&[Reason::Unsubscribe, reason])] {
                assert_eq!(verdict("inn", Priority::Transactional, reasons, &all), Some(reason));
            }
        }
        assert_eq!(verdict("inn", Priority::Bulk, Reasons::default(), &policy), None);
        assert_eq!(
            verdict(
                "inn",
                Priority::Bulk,
                of(&[Reason::Unsubscribe, Reason::Bounce, Reason::Complaint]),
                &policy
            ),
            Some(Reason::Complaint),
            "the gravest is told"
        );
    }
}
