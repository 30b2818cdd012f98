//! What the providers answered, alike with alike.

use std::collections::BTreeMap;

use serde::Serialize;
use utoipa::ToSchema;

use crate::clock::Timestamp;
use crate::notification::status::{Attempt, AttemptOutcome};

/// Kinds that are told apart; words that differ each time must not fill the memory.
const MOST_KINDS: usize = 200;

/// A normalised text's longest, in characters.
const MOST_CHARS: usize = 160;

/// What one provider answered, alike but for numbers and names.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, ToSchema)]
#[schema(as = IncidentAnswer)]
pub struct ProviderAnswer {
    /// The provider.
    pub provider: String,
    /// Its status code; null without an answer.
    #[schema(required = true)]
    pub http_status: Option<u16>,
    /// What became of the attempt.
    pub outcome: AttemptOutcome,
    /// Its words, with N for long numbers and … for what looks like an id.
    #[schema(required = true)]
    pub error: Option<String>,
    /// How often.
    pub count: u64,
    /// The first.
    #[schema(value_type = String, format = DateTime)]
    pub first_at: Timestamp,
    /// The last.
    #[schema(value_type = String, format = DateTime)]
    pub last_at: Timestamp,
}

type Kind = (String, Option<u16>, &'static str, Option<String>);

#[derive(Default)]
pub(super) struct Answers(BTreeMap<Kind, ProviderAnswer>);

impl Answers {
    pub(super) fn add(&mut self, attempts: &[Attempt], within: impl Fn(Timestamp) -> bool) {
        for attempt in attempts.iter().filter(|attempt| within(attempt.started_at)) {
            let mut error = attempt.error.as_deref().map(normal);
            let name = name(attempt.outcome);
            let mut kind = (attempt.provider.clone(), attempt.http_status, name, error.clone());
            if self.0.len() >= MOST_KINDS && !self.0.contains_key(&kind) {
                error = error.map(|_| "(others)".to_owned());
                kind.3.clone_from(&error);
            }
            let at = attempt.ended_at.unwrap_or(attempt.started_at);
            let answer = self.0.entry(kind).or_insert_with(|| ProviderAnswer {
                provider: attempt.provider.clone(),
                http_status: attempt.http_status,
                outcome: attempt.outcome,
                error,
                count: 0,
                first_at: at,
                last_at: at,
            });
            answer.count += 1;
            answer.first_at = answer.first_at.min(at);
            answer.last_at = answer.last_at.max(at);
        }
    }

    pub(super) fn finish(self) -> Vec<ProviderAnswer> {
        let mut answers: Vec<ProviderAnswer> = self.0.into_values().collect();
        answers.sort_by_key(|answer| std::cmp::Reverse(answer.count));
        answers
    }
}

fn name(outcome: AttemptOutcome) -> &'static str {
    match outcome {
        AttemptOutcome::Pending => "pending",
        AttemptOutcome::Accepted => "accepted",
        AttemptOutcome::NotAccepted => "not_accepted",
        AttemptOutcome::Refused => "refused",
        AttemptOutcome::Unknown => "unknown",
    }
}

/// The text without what differs from one to the next: numbers of four digits and more become N, words of six letters
/// and more with a digit in them `…`. Status codes and versions stay.
pub(super) fn normal(text: &str) -> String {
    let mut normal = String::with_capacity(text.len());
    let mut word = String::new();
    let end = |word: &mut String, normal: &mut String| {
        let has_digit = word.chars().any(|c| c.is_ascii_digit());
        let is_number = has_digit && word.chars().all(|c| c.is_ascii_digit());
        match word.len() {
            4.. if is_number => normal.push('N'),
            6.. if has_digit => normal.push('…'),
            _ => normal.push_str(word),
        }
        word.clear();
    };
    for c in text.chars() {
        if c.is_ascii_alphanumeric() {
            word.push(c);
        } else {
            end(&mut word, &mut normal);
            normal.push(if c.is_whitespace() || c.is_control() { ' ' } else { c });
        }
    }
    end(&mut word, &mut normal);
    match normal.char_indices().nth(MOST_CHARS) {
        Some((at, _)) => format!("{}…", &normal[..at]),
        None => normal,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_differs_from_one_to_the_next_is_left_out() {
        assert_eq!(normal("HTTP 503 from v3 after 30012 ms"), "HTTP 503 from v3 after N ms");
        assert_eq!(normal("id 9f86d081-884c-7d65 is\tbad"), "id …-884c-7d65 is bad");
        assert_eq!(normal("予約 12345 号"), "予約 N 号");
        assert_eq!(normal(&"ab ".repeat(100)).chars().count(), MOST_CHARS + 1);
    }
}
