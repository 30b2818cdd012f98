//! A [`Life`] as compact JSON: short names, whole milliseconds, nothing for what is empty.

use std::borrow::Cow;

use serde::{Deserialize, Serialize};

use crate::clock::Timestamp;
use crate::message_log::LogError;
use crate::notification::OnUnknown;
use crate::notification::status::{Act, Attempt, AttemptOutcome, Life, State, Token};

/// Every written state; its place is its code in the table.
pub(super) const STATES: [State; 10] = [
    State::Accepted,
    State::Scheduled,
    State::Held,
    State::Attempting,
    State::Retrying,
    State::Sent,
    State::Failed,
    State::Expired,
    State::Cancelled,
    State::Suppressed,
];

pub(super) fn state_code(state: State) -> u8 {
    let place = STATES.iter().position(|known| *known == state).unwrap_or(0);
    u8::try_from(place).unwrap_or(0)
}

/// The state with this code.
pub(super) fn state(code: u8) -> Option<State> {
    STATES.get(usize::from(code)).copied()
}

#[derive(Serialize, Deserialize)]
struct Stored<'a> {
    s: u8,
    #[serde(rename = "ss")]
    state_since: i64,
    #[serde(rename = "r", borrow, default, skip_serializing_if = "Option::is_none")]
    reason: Option<Cow<'a, str>>,
    #[serde(rename = "aa")]
    accepted_at: i64,
    #[serde(rename = "da", default, skip_serializing_if = "Option::is_none")]
    deliver_at: Option<i64>,
    #[serde(rename = "uu", default, skip_serializing_if = "Option::is_none")]
    useful_until: Option<i64>,
    #[serde(rename = "h", default, skip_serializing_if = "is_false")]
    holds_unknown: bool,
    #[serde(rename = "d")]
    due_at: i64,
    #[serde(rename = "w", default, skip_serializing_if = "Option::is_none")]
    wake_at: Option<i64>,
    #[serde(rename = "a", default, skip_serializing_if = "is_zero")]
    attempt: u32,
    #[serde(rename = "sp", default, skip_serializing_if = "is_zero")]
    spent: u32,
    #[serde(rename = "rs", default, skip_serializing_if = "is_zero")]
    resends: u32,
    #[serde(rename = "ir", default, skip_serializing_if = "is_false")]
    is_resend: bool,
    #[serde(rename = "t", borrow, default, skip_serializing_if = "Option::is_none")]
    token: Option<Cow<'a, str>>,
    #[serde(rename = "le")]
    lease_until: i64,
    #[serde(rename = "ho")]
    hold_until: i64,
    #[serde(rename = "p", borrow, default, skip_serializing_if = "Option::is_none")]
    provider: Option<Cow<'a, str>>,
    #[serde(rename = "m", borrow, default, skip_serializing_if = "Option::is_none")]
    message_id: Option<Cow<'a, str>>,
    #[serde(rename = "sa", default, skip_serializing_if = "Option::is_none")]
    sent_at: Option<i64>,
    #[serde(rename = "at", borrow, default, skip_serializing_if = "Vec::is_empty")]
    attempts: Vec<StoredAttempt<'a>>,
    #[serde(rename = "ac", default, skip_serializing_if = "is_empty")]
    acts: Cow<'a, [Act]>,
}

#[derive(Serialize, Deserialize)]
struct StoredAttempt<'a> {
    n: u32,
    #[serde(borrow)]
    p: Cow<'a, str>,
    s: i64,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    e: Option<i64>,
    #[serde(default, skip_serializing_if = "is_zero")]
    o: u32,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    h: Option<u16>,
    #[serde(borrow, default, skip_serializing_if = "Option::is_none")]
    x: Option<Cow<'a, str>>,
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde's signature")]
fn is_false(flag: &bool) -> bool {
    !flag
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde's signature")]
fn is_zero(number: &u32) -> bool {
    *number == 0
}

#[expect(clippy::ptr_arg, reason = "serde's signature")]
fn is_empty(acts: &Cow<'_, [Act]>) -> bool {
    acts.is_empty()
}

const OUTCOMES: [AttemptOutcome; 5] = [
    AttemptOutcome::Pending,
    AttemptOutcome::Accepted,
    AttemptOutcome::NotAccepted,
    AttemptOutcome::Refused,
    AttemptOutcome::Unknown,
];

fn outcome_code(outcome: AttemptOutcome) -> u32 {
    let place = OUTCOMES.iter().position(|known| *known == outcome).unwrap_or(0);
    u32::try_from(place).unwrap_or(0)
}

/// Writes it.
pub(super) fn write(life: &Life) -> String {
    let stored = Stored {
        s: state_code(life.state),
        state_since: life.state_since.as_ms(),
        reason: life.reason.as_deref().map(Cow::Borrowed),
        accepted_at: life.accepted_at.as_ms(),
        deliver_at: life.deliver_at.map(Timestamp::as_ms),
        useful_until: life.useful_until.map(Timestamp::as_ms),
        holds_unknown: life.on_unknown == OnUnknown::Hold,
        due_at: life.due_at.as_ms(),
        wake_at: life.wake_at.map(Timestamp::as_ms),
        attempt: life.attempt,
        spent: life.spent,
        resends: life.resends,
        is_resend: life.is_resend,
        token: life.token.map(|token| Cow::Owned(super::keys::hex(&token.0))),
        lease_until: life.lease_until.as_ms(),
        hold_until: life.hold_until.as_ms(),
        provider: life.provider.as_deref().map(Cow::Borrowed),
        message_id: life.provider_message_id.as_deref().map(Cow::Borrowed),
        sent_at: life.sent_at.map(Timestamp::as_ms),
        attempts: life
            .attempts
            .iter()
            .map(|attempt| StoredAttempt {
                n: attempt.number,
                p: Cow::Borrowed(&attempt.provider),
                s: attempt.started_at.as_ms(),
                e: attempt.ended_at.map(Timestamp::as_ms),
                o: outcome_code(attempt.outcome),
                h: attempt.http_status,
                x: attempt.error.as_deref().map(Cow::Borrowed),
            })
            .collect(),
        acts: Cow::Borrowed(&life.acts),
    };
    // Texts and numbers only: writing them as JSON cannot fail.
    serde_json::to_string(&stored).unwrap_or_default()
}

/// Reads it back.
pub(super) fn read(text: &str) -> Result<Life, LogError> {
    let stored: Stored<'_> = serde_json::from_str(text).map_err(|_| corrupt("its life"))?;
    let time = Timestamp::from_ms;
    let attempts = stored.attempts.into_iter().map(|attempt| {
        Ok(Attempt {
            number: attempt.n,
            provider: attempt.p.into_owned(),
            started_at: time(attempt.s),
            ended_at: attempt.e.map(time),
            outcome: *OUTCOMES.get(attempt.o as usize).ok_or_else(|| corrupt("an attempt"))?,
            http_status: attempt.h,
            error: attempt.x.map(Cow::into_owned),
        })
    });
    Ok(Life {
        state: state(stored.s).ok_or_else(|| corrupt("its state"))?,
        state_since: time(stored.state_since),
        reason: stored.reason.map(Cow::into_owned),
        accepted_at: time(stored.accepted_at),
        deliver_at: stored.deliver_at.map(time),
        useful_until: stored.useful_until.map(time),
        on_unknown: if stored.holds_unknown { OnUnknown::Hold } else { OnUnknown::Resend },
        due_at: time(stored.due_at),
        wake_at: stored.wake_at.map(time),
        attempt: stored.attempt,
        spent: stored.spent,
        resends: stored.resends,
        is_resend: stored.is_resend,
        token: stored
            .token
            .map(|token| read_token(&token).ok_or_else(|| corrupt("its token")))
            .transpose()?,
        lease_until: time(stored.lease_until),
        hold_until: time(stored.hold_until),
        provider: stored.provider.map(Cow::into_owned),
        provider_message_id: stored.message_id.map(Cow::into_owned),
        sent_at: stored.sent_at.map(time),
        attempts: attempts.collect::<Result<_, LogError>>()?,
        acts: stored.acts.into_owned(),
    })
}

fn read_token(hex: &str) -> Option<Token> {
    let mut bytes = [0_u8; 16];
    for (at, byte) in bytes.iter_mut().enumerate() {
        *byte = u8::from_str_radix(hex.get(at * 2..at * 2 + 2)?, 16).ok()?;
    }
    (hex.len() == 32).then_some(Token(bytes))
}

fn corrupt(what: &str) -> LogError {
    LogError::Corrupt(what.into())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::notification::status::ActKind;

    #[test]
    fn a_life_is_read_back_as_it_was_written() {
        let time = Timestamp::from_ms;
        let plain = Life::accepted(time(1_800_000_000_000), None, None, OnUnknown::Resend);
        let attempt = |outcome| Attempt {
            number: 2,
            provider: "sendgrid \"eu\"".into(),
            started_at: time(5),
            ended_at: Some(time(6)),
            outcome,
            http_status: Some(503),
            error: Some("予約\n\"502\"".into()),
        };
        let full = STATES.map(|state| Life {
            state,
            reason: Some("in \"their\" words".into()),
            deliver_at: Some(time(7)),
            useful_until: Some(time(8)),
            on_unknown: OnUnknown::Hold,
            wake_at: Some(time(9)),
            attempt: 3,
            spent: 2,
            resends: 1,
            is_resend: true,
            token: Some(Token([0xA5; 16])),
            provider: Some("sendgrid".into()),
            provider_message_id: Some("m1".into()),
            sent_at: Some(time(10)),
            attempts: OUTCOMES.map(attempt).to_vec(),
            acts: vec![Act { at: time(11), kind: ActKind::Redriven, who: "予約".into(), why: None }],
            ..plain.clone()
        });
        for life in full.into_iter().chain([plain]) {
            assert_eq!(read(&write(&life)).ok(), Some(life));
        }
    }

    #[test]
    fn what_is_no_life_is_told_and_does_not_panic() {
        for text in ["", "{}", "[]", r#"{"s":99,"ss":0,"aa":0,"d":0,"le":0,"ho":0}"#] {
            assert!(matches!(read(text), Err(LogError::Corrupt(_))), "{text}");
        }
        let token = r#"{"s":0,"ss":0,"aa":0,"d":0,"le":0,"ho":0,"t":"日本語"}"#;
        assert!(matches!(read(token), Err(LogError::Corrupt(_))));
    }
}
