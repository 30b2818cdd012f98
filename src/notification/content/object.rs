//! Objects and lists on the walk: every field taken by name, everything unexpected noted.

use std::borrow::Cow;

use super::fault::{At, Faults};
use super::json::{Json, REPEATED};
use super::text::{self, Rule};

/// An object of known fields, being read. A null counts as absent, as many serializers write one for it.
pub(super) struct Object<'j, 'w> {
    names: &'static [&'static str],
    values: Vec<Option<Json<'j>>>,
    at: &'w At<'w>,
    /// Where the fields' faults go.
    pub(super) faults: &'w mut Faults,
}

impl<'j, 'w> Object<'j, 'w> {
    /// Opens the object here. Notes fields of other names and repeated ones; `None` if it is no object.
    pub(super) fn open(
        value: Json<'j>,
        names: &'static [&'static str],
        at: &'w At<'w>,
        faults: &'w mut Faults,
    ) -> Option<Self> {
        let fields = pairs(value, usize::MAX, at, faults)?;
        let mut values: Vec<_> = names.iter().map(|_| None).collect();
        for (name, value) in fields {
            match names.iter().position(|known| *known == name) {
                None => faults
                    .add(&at.field(&name), format!("is not a field here; there are {}", names.join(", "))),
                Some(index) if values[index].is_some() => faults.add(&at.field(&name), REPEATED),
                Some(index) => values[index] = Some(value),
            }
        }
        let values = values.into_iter().map(|value| value.filter(|v| !matches!(v, Json::Null))).collect();
        Some(Self { names, values, at, faults })
    }

    /// Whether the field is there and not read yet.
    pub(super) fn has(&self, name: &str) -> bool {
        self.position(name).is_some_and(|index| self.values[index].is_some())
    }

    /// Reads a field that may be absent.
    pub(super) fn optional<T>(
        &mut self,
        name: &'static str,
        read: impl FnOnce(Json<'j>, &At<'_>, &mut Faults) -> Option<T>,
    ) -> Option<T> {
        let value = self.position(name).and_then(|index| self.values[index].take())?;
        read(value, &self.at.field(name), self.faults)
    }

    /// Reads a field that must be there.
    pub(super) fn required<T>(
        &mut self,
        name: &'static str,
        read: impl FnOnce(Json<'j>, &At<'_>, &mut Faults) -> Option<T>,
    ) -> Option<T> {
        if !self.has(name) {
            self.fault(name, "is required");
        }
        self.optional(name, read)
    }

    /// Reads a text that may be absent.
    pub(super) fn text(&mut self, name: &'static str, rule: Rule) -> Option<String> {
        self.optional(name, |value, at, faults| text::ruled(value, rule, at, faults))
    }

    /// Reads a text that must be there.
    pub(super) fn required_text(&mut self, name: &'static str, rule: Rule) -> Option<String> {
        self.required(name, |value, at, faults| text::ruled(value, rule, at, faults))
    }

    /// Notes a fault of a field.
    pub(super) fn fault(&mut self, name: &'static str, detail: impl Into<Cow<'static, str>>) {
        self.faults.add(&self.at.field(name), detail);
    }

    fn position(&self, name: &str) -> Option<usize> {
        self.names.iter().position(|known| *known == name)
    }
}

/// The entries of a list; `None` with a fault for anything else.
pub(super) fn list<'j>(
    value: Json<'j>,
    most: usize,
    at: &At<'_>,
    faults: &mut Faults,
) -> Option<Vec<Json<'j>>> {
    match value {
        Json::List(list) if list.len() <= most => return Some(list),
        Json::List(_) => faults.add(at, format!("must have at most {most} entries")),
        other => faults.add(at, format!("must be a list, not {}", other.kind())),
    }
    None
}

/// The fields of an object of free names, repeated ones included; `None` with a fault for anything else.
pub(super) fn pairs<'j>(
    value: Json<'j>,
    most: usize,
    at: &At<'_>,
    faults: &mut Faults,
) -> Option<Vec<(Cow<'j, str>, Json<'j>)>> {
    match value {
        Json::Object(fields) if fields.len() <= most => return Some(fields),
        Json::Object(_) => faults.add(at, format!("must have at most {most} entries")),
        other => faults.add(at, format!("must be an object, not {}", other.kind())),
    }
    None
}
