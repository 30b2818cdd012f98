use super::*;

fn text(body: &str) -> Option<&str> {
    original(body.as_bytes()).and_then(|bytes| std::str::from_utf8(bytes).ok())
}

#[test]
fn the_original_is_what_an_envelope_carries_or_the_message_itself() {
    assert_eq!(text(r#"{"kakitome":1,"id":"x","content":{"a":1}}"#), Some(r#"{"a":1}"#));
    assert_eq!(text(r#"{"id":"x","content":{"a":1},"kakitome":9}"#), Some(r#"{"a":1}"#));
    assert_eq!(text(r#"{"kakitome":1,"id":"x"}"#), None, "it went without");
    for bare in [r#"{"content":1}"#, "no JSON", "", "[1,2]"] {
        assert_eq!(text(bare), Some(bare));
    }
}
