//! E-mail addresses as SendGrid takes them: RFC 5321 with dots in the right places, or a quoted local part.

use serde_json::Value;

use super::Findings;

/// SendGrid's own bound on a whole address.
const LONGEST_BYTES: usize = 320;

/// Checks an `{email, name}` object, where there is one.
pub(super) fn check_object(found: &mut Findings, field: &str, value: Option<&Value>) {
    let Some(object) = found.object(field, value) else {
        return;
    };
    found.unknown(&format!("{field}."), object, &["email", "name"]);
    match object.get("email") {
        None => {
            let what = field.split('.').rfind(|name| name.parse::<usize>().is_err()).unwrap_or(field);
            found.add(format!("{field}.email"), format!("The {what} email parameter is required."));
        }
        Some(Value::String(email)) if email.len() > LONGEST_BYTES => {
            found.add(
                format!("{field}.email"),
                "The email exceeds the maximum total length of 320 characters",
            );
        }
        Some(Value::String(email)) if !is_address(email) => {
            found.add(format!("{field}.email"), "Does not contain a valid address.");
        }
        Some(Value::String(_)) => {}
        Some(other) => found.wrong_type(format!("{field}.email"), "string", other),
    }
    match object.get("name") {
        None | Some(Value::Null) => {}
        Some(Value::String(name)) => check_name(found, field, name),
        Some(other) => found.wrong_type(format!("{field}.name"), "string", other),
    }
}

fn check_name(found: &mut Findings, field: &str, name: &str) {
    let quoted = name.len() >= 2 && name.starts_with('"') && name.ends_with('"');
    // The separators split the header of a recipient; the sender and reply-to are not in a list.
    if field.starts_with("personalizations") && !quoted && name.contains([';', ',']) {
        let message = "The name cannot contain ';' or ',' unless it is enclosed in double quotes.";
        found.add(format!("{field}.name"), message);
    }
    if name.contains(['\r', '\n']) {
        found.add(format!("{field}.name"), "The name cannot contain CRLF characters.");
    }
}

/// Whether SendGrid would take this as an address. Old carrier addresses (`a..b@`, `.a@`, `a.@`) only with their
/// local part quoted; no non-ASCII, no IP literal.
pub(super) fn is_address(text: &str) -> bool {
    let Some((local, domain)) = text.rsplit_once('@') else {
        return false;
    };
    local.len() <= 64 && (is_dot_atom(local) || is_quoted(local)) && is_domain(domain)
}

fn is_dot_atom(local: &str) -> bool {
    let is_atext = |byte: u8| byte.is_ascii_alphanumeric() || b"!#$%&'*+-/=?^_`{|}~".contains(&byte);
    local.split('.').all(|atom| !atom.is_empty() && atom.bytes().all(is_atext))
}

fn is_quoted(local: &str) -> bool {
    let Some(inner) = local.strip_prefix('"').and_then(|rest| rest.strip_suffix('"')) else {
        return false;
    };
    let mut bytes = inner.bytes();
    while let Some(byte) = bytes.next() {
        let fine = match byte {
            b'"' => false,
            b'\\' => bytes.next().is_some_and(|escaped| (b' '..=b'~').contains(&escaped)),
            byte => (b' '..=b'~').contains(&byte),
        };
        if !fine {
            return false;
        }
    }
    !inner.is_empty()
}

fn is_domain(domain: &str) -> bool {
    let is_label = |label: &str| {
        (1..=63).contains(&label.len())
            && !label.starts_with('-')
            && !label.ends_with('-')
            && label.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'-')
    };
    domain.len() <= 253 && domain.contains('.') && domain.split('.').all(is_label)
}

#[cfg(test)]
mod tests {
    use super::is_address;

    #[test]
    fn dots_out_of_place_need_quotes() {
        for refused in [
            "a..b@docomo.ne.jp",
            ".a@ezweb.ne.jp",
            "a.@docomo.ne.jp",
            "a@b",
            "a b@example.com",
            "a@[192.0.2.1]",
            "a@-x.jp",
            "a@x..jp",
            "山田@example.jp",
            "a@例え.jp",
            "a@example.com\r\nBcc: x@example.com",
            "\"a\"b\"@example.com",
            "a@b@example.com",
            "@example.com",
            "",
        ] {
            assert!(!is_address(refused), "{refused:?} was taken");
        }
        for taken in
            ["\"a..b\"@docomo.ne.jp", "\".a\"@ezweb.ne.jp", "a.b+c@example.co.jp", "a@xn--r8jz45g.jp"]
        {
            assert!(is_address(taken), "{taken:?} was refused");
        }
    }
}
