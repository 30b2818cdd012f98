//! Stops in words, for people.

use std::fmt;

use super::{Scope, Stop, StopKind};

impl fmt::Display for Scope {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut words = Vec::new();
        if let Some(provider) = &self.provider {
            words.push(format!("the provider {provider}"));
        }
        if let Some(tenant) = &self.tenant {
            words.push(format!("the tenant {tenant}"));
        }
        if let Some(batch) = &self.batch {
            words.push(format!("the batch {batch}"));
        }
        match self.ids.len() {
            0 => {}
            1 => words.push("one notification".into()),
            count => words.push(format!("{count} notifications")),
        }
        match (words.is_empty(), self.all) {
            (true, true) => f.write_str("everything"),
            (true, false) => f.write_str("nothing"),
            _ => f.write_str(&words.join(" and ")),
        }
    }
}

impl fmt::Display for Stop {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Stop { scope, who, reason, .. } = self;
        match self.kind {
            StopKind::Hold => write!(f, "hold of {scope} by {who}: {reason}"),
            StopKind::Cancel => write!(f, "cancellation of {scope} by {who}: {reason}"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::notification::NotificationId;

    #[test]
    fn a_scope_is_told_in_words() {
        let scope = |change: fn(&mut Scope)| {
            let mut scope = Scope::default();
            change(&mut scope);
            scope.to_string()
        };
        assert_eq!(scope(|_| ()), "nothing");
        assert_eq!(scope(|s| s.all = true), "everything");
        assert_eq!(scope(|s| s.provider = Some("sendgrid".into())), "the provider sendgrid");
        let both = |s: &mut Scope| (s.tenant, s.batch) = (Some("inn".into()), Some("tos".into()));
        assert_eq!(scope(both), "the tenant inn and the batch tos");
        assert_eq!(scope(|s| s.ids = vec![NotificationId::from_bytes([1; 16]); 3]), "3 notifications");
    }
}
