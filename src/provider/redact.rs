//! What a provider says, made fit for records and logs: addresses masked, one line, bounded.

/// The longest text that is kept, in characters.
const MAX_CHARS: usize = 500;
const MASK: &str = "***";

/// `text` on one line, at most 500 characters, with everything that looks like an address and every text in `private`
/// masked.
pub fn redact(text: &str, private: &[&str]) -> String {
    let mut text = text.to_owned();
    for secret in private.iter().filter(|secret| !secret.trim().is_empty()) {
        text = text.replace(secret, MASK);
    }
    let masked = mask_addresses(&text);
    let mut line = String::with_capacity(masked.len());
    for word in masked.split(|c: char| c.is_whitespace() || c.is_control()).filter(|word| !word.is_empty()) {
        if !line.is_empty() {
            line.push(' ');
        }
        line.push_str(word);
    }
    if line.chars().count() > MAX_CHARS {
        line = line.chars().take(MAX_CHARS - 1).chain(['…']).collect();
    }
    line
}

/// Masks whatever stands around an `@`, its full-width form or its percent-encoded form. Rather too much than too
/// little: the local part reaches back to the nearest separator, or to the opening quote if it is quoted.
fn mask_addresses(text: &str) -> String {
    let mut masked = String::with_capacity(text.len());
    let mut rest = text;
    while let Some((at, length)) = find_at(rest) {
        let local = local_part_start(&rest[..at]);
        masked.push_str(&rest[..local]);
        masked.push_str(MASK);
        rest = &rest[at + length..];
        rest = &rest[domain_end(rest)..];
    }
    masked.push_str(rest);
    masked
}

fn find_at(text: &str) -> Option<(usize, usize)> {
    ["@", "＠", "%40"].iter().filter_map(|sign| text.find(sign).map(|at| (at, sign.len()))).min()
}

fn local_part_start(before: &str) -> usize {
    if let Some(quoted) = before.strip_suffix('"') {
        // An escaped quote (as JSON in JSON writes it) belongs to the local part too.
        return quoted.rfind('"').map_or(
            0,
            |open| {
                if quoted[..open].ends_with('\\') { open - 1 } else { open }
            },
        );
    }
    before.char_indices().rev().find(|(_, c)| separates(*c)).map_or(0, |(index, c)| index + c.len_utf8())
}

fn domain_end(after: &str) -> usize {
    if after.starts_with('[') {
        return after.find(']').map_or(after.len(), |close| close + 1);
    }
    after.find(separates).unwrap_or(after.len())
}

fn separates(c: char) -> bool {
    c.is_whitespace() || c.is_control() || "<>()[]{},;:\"\\".contains(c)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn whatever_looks_like_an_address_is_masked() {
        let table = [
            ("Bad address guest@example.com here", "Bad address *** here"),
            ("<guest@example.com>, o'neil+tag@example.jp;", "<***>, ***;"),
            ("\"a..b\"@docomo.ne.jp refused", "*** refused"),
            ("\"with space\"@example.com", "***"),
            ("x@[192.0.2.1] y", "*** y"),
            ("mailto:guest%40example.com", "mailto:***"),
            ("山田@例え.jp。", "***"),
            ("guest＠example.com", "***"),
            ("a@b@c d", "*** d"),
            ("no address", "no address"),
        ];
        for (text, expected) in table {
            assert_eq!(redact(text, &[]), expected);
        }
    }

    #[test]
    fn private_texts_are_masked_wherever_they_stand() {
        assert_eq!(redact("key SG.abc for 山田 太郎", &["SG.abc", "山田 太郎", " "]), "key *** for ***");
    }

    #[test]
    fn a_long_answer_is_cut_and_stays_on_one_line() {
        let text = redact(&"word\r\n\t".repeat(1000), &[]);
        assert_eq!(text.chars().count(), 500);
        assert!(text.ends_with('…') && !text.contains(['\r', '\n', '\t']));
    }

    proptest! {
        #[test]
        fn no_address_survives_whatever_surrounds_it(before in "\\PC{0,20}", after in "\\PC{0,20}") {
            let text = redact(&format!("{before} guest.name@mail.example.com {after}"), &[]);
            prop_assert!(!text.contains("guest.name"), "{}", text);
            prop_assert!(!text.contains('@') && !text.contains("mail.example"), "{}", text);
        }
    }
}
