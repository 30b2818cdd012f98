//! Who gets mail although on the suppression list.

use std::collections::BTreeSet;

use super::reader::Reader;
use crate::notification::content::is_tenant_name;
use crate::suppression::verdict::Policy;

const TENANTS: &str = "suppression.transactional_through_unsubscribe_of";

pub(super) fn read(reader: &mut Reader) -> Policy {
    let text = reader.text(TENANTS);
    let names = text.split(',').map(str::trim).filter(|name| !name.is_empty());
    let through_unsubscribe_of: BTreeSet<String> = names.map(str::to_owned).collect();
    if !through_unsubscribe_of.iter().all(|name| is_tenant_name(name)) {
        reader.refuse(TENANTS, "allowed: names of tenants, separated by commas");
    }
    let through_unsubscribe = reader.switch("suppression.transactional_through_unsubscribe");
    Policy { through_unsubscribe, through_unsubscribe_of }
}
