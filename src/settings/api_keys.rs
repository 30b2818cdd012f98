//! `[[api_key]]` tables: keys known by the hash of their secret, scoped, one tenant each.

use super::fault::Fault;
use super::reader::Reader;
use super::sources::ApiKeyTable;
use crate::api::auth::{ApiKey, Scope};

/// Interprets the tables; faults go to the reader.
pub fn read(reader: &mut Reader) -> Vec<ApiKey> {
    let mut keys: Vec<ApiKey> = Vec::new();
    for table in reader.take_api_keys() {
        let key = read_one(&table, reader);
        if keys.iter().any(|other| other.id == key.id || other.sha256 == key.sha256) {
            let detail = "another [[api_key]] has the same id or sha256; each must be its own";
            reader.note(fault(&table, "id", table.fields.get("id").map(String::as_str), detail));
        }
        keys.push(key);
    }
    keys
}

fn read_one(table: &ApiKeyTable, reader: &mut Reader) -> ApiKey {
    const FIELDS: [&str; 4] = ["id", "sha256", "tenant", "scopes"];
    for (name, value) in table.fields.iter().filter(|(name, _)| !FIELDS.contains(&name.as_str())) {
        // A secret written here by mistake must not be printed either.
        let shown = (!name.contains("secret") && !name.contains("key")).then_some(value.as_str());
        let detail = format!("there is no such field; allowed: {}", FIELDS.join(", "));
        reader.note(fault(table, name, shown, &detail));
    }
    let mut want = |name: &str, allowed: &str, fits: &dyn Fn(&str) -> bool| {
        let value = table.fields.get(name).map(String::as_str);
        if !value.is_some_and(fits) {
            reader.note(fault(table, name, value, &format!("allowed: {allowed}")));
        }
        value.unwrap_or_default().to_owned()
    };
    let id = want("id", "a short name without spaces, up to 64 characters", &|text| {
        (1..=64).contains(&text.len()) && text.chars().all(|c| c.is_ascii_graphic())
    });
    let sha256 = want(
        "sha256",
        "the SHA-256 of the secret, 64 hexadecimal digits; `kakitome keys new` makes one",
        &|text| unhex(text).is_some(),
    );
    let tenant =
        want("tenant", "a tenant's name, up to 128 characters", &|text| (1..=128).contains(&text.len()));
    let scopes = want("scopes", "a list of send, read, operate, admin", &|text| {
        text.split(',').all(|scope| scope.trim().parse::<Scope>().is_ok())
    });
    ApiKey {
        id,
        sha256: unhex(&sha256).unwrap_or_default(),
        tenant,
        scopes: scopes.split(',').filter_map(|scope| scope.trim().parse::<Scope>().ok()).collect(),
    }
}

fn fault(table: &ApiKeyTable, field: &str, value: Option<&str>, detail: &str) -> Fault {
    let shown = value.map_or_else(String::new, |value| format!(" = {value:?}"));
    let subject = format!("api_key.{field}{shown} ({}, line {})", table.file.display(), table.line);
    Fault { subject, detail: detail.to_owned() }
}

fn unhex(text: &str) -> Option<[u8; 32]> {
    let digits: Option<Vec<u8>> =
        text.chars().map(|c| c.to_digit(16).and_then(|digit| u8::try_from(digit).ok())).collect();
    let bytes: Vec<u8> =
        digits?.chunks(2).map(|pair| pair.iter().fold(0, |byte, digit| byte << 4 | digit)).collect();
    if text.len() == 64 { bytes.try_into().ok() } else { None }
}
