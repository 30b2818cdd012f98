//! JSON as it came: keys in their order, repeated ones included, text borrowed from the body where it can be.

use std::borrow::Cow;
use std::cell::Cell;
use std::fmt;

use serde::Deserializer;
use serde::de::{DeserializeSeed, Error, MapAccess, SeqAccess, Visitor};
use serde_json::{Map, Number, Value};

use super::fault::{At, Faults};
use super::text;

/// Deeper documents are refused: serde_json stops at 128, and the provider's request wraps template data in more.
const MOST_LEVELS: usize = 64;

/// A document of ten bytes a value would take thirty times its size in memory.
const MOST_VALUES: usize = 100_000;

/// One JSON value.
pub(super) enum Json<'a> {
    Null,
    Bool(bool),
    Number(Number),
    Text(Cow<'a, str>),
    List(Vec<Json<'a>>),
    Object(Vec<(Cow<'a, str>, Json<'a>)>),
}

impl<'a> Json<'a> {
    /// Reads one document. The error is in words for the producer.
    pub(super) fn read(body: &'a [u8]) -> Result<Self, String> {
        let body = without_bom(body);
        if body.trim_ascii().is_empty() {
            return Err("is empty: one JSON object is expected".into());
        }
        let text = std::str::from_utf8(body)
            .map_err(|error| format!("is not UTF-8 from byte {} on", error.valid_up_to()))?;
        let values_left = Cell::new(MOST_VALUES);
        let mut source = serde_json::Deserializer::from_str(text);
        let document =
            Reader { levels_left: MOST_LEVELS, values_left: &values_left }.deserialize(&mut source);
        match document.and_then(|document| source.end().map(|()| document)) {
            Ok(document) => Ok(document),
            Err(error) if error.is_data() => Err(error.to_string()),
            Err(error) => Err(format!("is not JSON: {error}")),
        }
    }

    /// What it is, for "must be a string, not …".
    pub(super) fn kind(&self) -> &'static str {
        match self {
            Json::Null => "null",
            Json::Bool(_) => "a boolean",
            Json::Number(_) => "a number",
            Json::Text(_) => "a string",
            Json::List(_) => "a list",
            Json::Object(_) => "an object",
        }
    }

    /// As a plain value, keys sorted so that the same content is the same bytes whatever order it came in. Notes
    /// repeated keys and characters that no store takes.
    pub(super) fn into_value(self, at: &At<'_>, faults: &mut Faults) -> Value {
        match self {
            Json::Null => Value::Null,
            Json::Bool(is) => Value::Bool(is),
            Json::Number(number) => Value::Number(number),
            Json::Text(text) => {
                if !text::is_storable(&text) {
                    faults.add(at, text::NOT_STORABLE);
                }
                Value::String(text.into_owned())
            }
            Json::List(list) => {
                let entries = list.into_iter().enumerate();
                Value::Array(entries.map(|(i, entry)| entry.into_value(&at.index(i), faults)).collect())
            }
            Json::Object(fields) => Value::Object(into_map(fields, at, faults)),
        }
    }
}

/// An object of any keys, see [`Json::into_value`].
pub(super) fn into_map(
    mut fields: Vec<(Cow<'_, str>, Json<'_>)>,
    at: &At<'_>,
    faults: &mut Faults,
) -> Map<String, Value> {
    fields.sort_by(|(one, _), (other, _)| one.cmp(other));
    let mut map = Map::new();
    for (key, value) in fields {
        let here = at.field(&key);
        if !text::is_storable(&key) {
            faults.add(&here, text::NOT_STORABLE);
        }
        let value = value.into_value(&here, faults);
        if map.contains_key(key.as_ref()) {
            faults.add(&here, REPEATED);
        }
        map.insert(key.into_owned(), value);
    }
    map
}

/// The detail for a key that stands twice in one object.
pub(super) const REPEATED: &str = "is given more than once";

/// Windows programs put a byte order mark before UTF-8; RFC 8259 section 8.1 lets a reader ignore it.
pub(super) fn without_bom(body: &[u8]) -> &[u8] {
    body.strip_prefix(b"\xEF\xBB\xBF").unwrap_or(body)
}

#[derive(Clone, Copy)]
struct Reader<'c> {
    levels_left: usize,
    values_left: &'c Cell<usize>,
}

impl Reader<'_> {
    fn inside<E: Error>(mut self) -> Result<Self, E> {
        let too_deep = || E::custom(format_args!("is nested deeper than {MOST_LEVELS} levels"));
        self.levels_left = self.levels_left.checked_sub(1).ok_or_else(too_deep)?;
        Ok(self)
    }
}

impl<'de> DeserializeSeed<'de> for Reader<'_> {
    type Value = Json<'de>;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Json<'de>, D::Error> {
        let too_many = || D::Error::custom(format_args!("holds more than {MOST_VALUES} values"));
        self.values_left.set(self.values_left.get().checked_sub(1).ok_or_else(too_many)?);
        deserializer.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Reader<'_> {
    type Value = Json<'de>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("any JSON value")
    }

    fn visit_unit<E>(self) -> Result<Json<'de>, E> {
        Ok(Json::Null)
    }

    fn visit_bool<E>(self, is: bool) -> Result<Json<'de>, E> {
        Ok(Json::Bool(is))
    }

    fn visit_i64<E>(self, number: i64) -> Result<Json<'de>, E> {
        Ok(Json::Number(number.into()))
    }

    fn visit_u64<E>(self, number: u64) -> Result<Json<'de>, E> {
        Ok(Json::Number(number.into()))
    }

    fn visit_f64<E>(self, number: f64) -> Result<Json<'de>, E> {
        Ok(Number::from_f64(number).map_or(Json::Null, Json::Number))
    }

    fn visit_borrowed_str<E>(self, text: &'de str) -> Result<Json<'de>, E> {
        Ok(Json::Text(Cow::Borrowed(text)))
    }

    fn visit_str<E>(self, text: &str) -> Result<Json<'de>, E> {
        Ok(Json::Text(Cow::Owned(text.to_owned())))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut entries: A) -> Result<Json<'de>, A::Error> {
        let inside = self.inside()?;
        let mut list = Vec::new();
        while let Some(entry) = entries.next_element_seed(inside)? {
            list.push(entry);
        }
        Ok(Json::List(list))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut fields: A) -> Result<Json<'de>, A::Error> {
        let inside = self.inside()?;
        let mut list = Vec::new();
        while let Some(key) = fields.next_key_seed(Key)? {
            list.push((key, fields.next_value_seed(inside)?));
        }
        Ok(Json::Object(list))
    }
}

struct Key;

impl<'de> DeserializeSeed<'de> for Key {
    type Value = Cow<'de, str>;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Cow<'de, str>, D::Error> {
        deserializer.deserialize_str(self)
    }
}

impl<'de> Visitor<'de> for Key {
    type Value = Cow<'de, str>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a key")
    }

    fn visit_borrowed_str<E>(self, text: &'de str) -> Result<Cow<'de, str>, E> {
        Ok(Cow::Borrowed(text))
    }

    fn visit_str<E>(self, text: &str) -> Result<Cow<'de, str>, E> {
        Ok(Cow::Owned(text.to_owned()))
    }
}
