//! What each provider looks like on the wire: the requests that it takes, and its answers.

use std::sync::Arc;
use std::time::Duration;

use kakitome::aws::sign::Identity;
use kakitome::notification::{Notification, Template};
use kakitome::provider::SendErrorClass::{self, ProviderRefused, Refused, Throttled, Unknown};
use kakitome::provider::resend::Resend;
use kakitome::provider::sendgrid::SendGrid;
use kakitome::provider::ses::{Account, Ses};
use kakitome::provider::{Provider, http};
use kakitome::secret::Secret;
use serde_json::json;

use super::mailbox;

/// An answer: status, further headers, body.
type Answer = (u16, &'static str, &'static str);
/// What a provider cannot take: a part of the reason, and how to make such a notification.
type Unsendable = (&'static str, fn(&mut Notification));

/// One provider.
pub struct Side {
    pub name: &'static str,
    /// An account at this address.
    pub provider: fn(&str) -> Arc<dyn Provider>,
    /// Where mail is handed in.
    pub path: &'static str,
    /// Lines of every request's head, in lower case, or their beginnings.
    pub headers: &'static [&'static str],
    /// The answer to mail that is taken, and the message id in it.
    pub taken: Answer,
    pub message_id: &'static str,
    /// Asks to slow down.
    pub throttled: Answer,
    /// Everything else that it says, with its class. `WORDS` stands for what must not be repeated.
    pub refusals: &'static [(u16, &'static str, &'static str, SendErrorClass)],
    pub unsendable: &'static [Unsendable],
}

fn config(base_url: &str) -> http::Config {
    http::Config {
        base_url: base_url.to_owned(),
        api_key: Secret::new("the-key-itself\n"),
        connect_timeout: Duration::from_secs(1),
        attempt_timeout: Duration::from_secs(2),
        ..http::Config::default()
    }
}

fn to_many(notification: &mut Notification) {
    notification.to = (0..51).map(|n| mailbox(&format!("guest{n}@example.com"), None)).collect();
}

fn template_with_text(notification: &mut Notification) {
    notification.template = Some(Template { id: "welcome".into(), data: serde_json::Map::new() });
}

fn template_with_a_list(notification: &mut Notification) {
    notification.text = None;
    let data = serde_json::Map::from_iter([("rooms".to_owned(), json!(["桜"]))]);
    notification.template = Some(Template { id: "welcome".into(), data });
}

pub const SIDES: [Side; 3] = [SENDGRID, RESEND, SES];

const SENDGRID: Side = Side {
    name: "sendgrid",
    provider: |base_url| Arc::new(SendGrid::new("sendgrid", config(base_url)).unwrap()),
    path: "/v3/mail/send",
    headers: &["authorization: bearer the-key-itself", "accept: application/json", "user-agent: kakitome/"],
    taken: (202, "X-Message-Id: kA5kcHA8SVGtVh5S9rAUew\r\n", ""),
    message_id: "kA5kcHA8SVGtVh5S9rAUew",
    throttled: (429, "", r#"{"errors":[{"field":null,"message":"too many requests"}]}"#),
    refusals: &[
        (
            400,
            "",
            r#"{"errors":[{"message":"Does not contain a valid address: WORDS","field":"to"}]}"#,
            Refused,
        ),
        (401, "", r#"{"errors":[{"message":"Maximum credits exceeded","field":null}]}"#, ProviderRefused),
        (403, "", r#"{"errors":[{"message":"The from address: WORDS","field":"from"}]}"#, ProviderRefused),
        (413, "", "", Refused),
        (429, "", "WORDS", Throttled),
        (500, "", "WORDS", Unknown),
        (503, "", "", Unknown),
    ],
    unsendable: &[],
};

const RESEND: Side = Side {
    name: "resend",
    provider: |base_url| Arc::new(Resend::new("resend", config(base_url)).unwrap()),
    path: "/emails",
    headers: &[
        "authorization: bearer the-key-itself",
        "accept: application/json",
        "user-agent: kakitome/",
        "idempotency-key: 0f9b1c52-6a35-8d1e-9c2b-7a1d2e3f4a5b",
    ],
    taken: (200, "", r#"{"id":"49a3999c-0ce1-4ea6-ab68-afcd6dc2e794"}"#),
    message_id: "49a3999c-0ce1-4ea6-ab68-afcd6dc2e794",
    throttled: (
        429,
        "ratelimit-reset: 1\r\n",
        r#"{"statusCode":429,"message":"m","name":"rate_limit_exceeded"}"#,
    ),
    refusals: &[
        (422, "", r#"{"statusCode":422,"message":"Invalid `to`: WORDS","name":"validation_error"}"#, Refused),
        (401, "", r#"{"statusCode":401,"message":"WORDS","name":"restricted_api_key"}"#, ProviderRefused),
        (403, "", r#"{"statusCode":403,"message":"WORDS","name":"validation_error"}"#, ProviderRefused),
        (409, "", r#"{"statusCode":409,"message":"WORDS","name":"invalid_idempotent_request"}"#, Unknown),
        (409, "", r#"{"statusCode":409,"message":"m","name":"concurrent_idempotent_requests"}"#, Unknown),
        (429, "", r#"{"statusCode":429,"message":"m","name":"daily_quota_exceeded"}"#, ProviderRefused),
        (429, "", r#"{"statusCode":429,"message":"WORDS","name":"rate_limit_exceeded"}"#, Throttled),
        (500, "", r#"{"statusCode":500,"message":"WORDS","name":"internal_server_error"}"#, Unknown),
        (503, "", "WORDS", Unknown),
    ],
    unsendable: &[
        ("at most 50 addresses in `to`, and these are 51", to_many),
        ("not both", template_with_text),
        ("`rooms`", template_with_a_list),
    ],
};

/// The access key that SES's requests are signed with.
pub const KEY_ID: &str = "AKIDEXAMPLE";
pub const REGION: &str = "ap-northeast-1";

const SES: Side = Side {
    name: "ses",
    provider: |base_url| {
        let identity = Identity::Fixed { key_id: KEY_ID.into(), key_secret: Secret::new("the-key-itself") };
        let account = Account { region: REGION.into(), configuration_set: Some("kakitome".into()), identity };
        Arc::new(Ses::new("ses", config(base_url), account).unwrap())
    },
    path: "/v2/email/outbound-emails",
    headers: &[
        "authorization: aws4-hmac-sha256 credential=akidexample/",
        "x-amz-date: 2",
        "user-agent: kakitome/",
    ],
    taken: (200, "", r#"{"MessageId":"0106018f2d-0000-4a5b-0000-000000"}"#),
    message_id: "0106018f2d-0000-4a5b-0000-000000",
    throttled: (
        429,
        "x-amzn-ErrorType: TooManyRequestsException:http://internal.amazon.com/\r\n",
        r#"{"message":null}"#,
    ),
    refusals: &[
        (400, "x-amzn-ErrorType: BadRequestException\r\n", r#"{"message":"Invalid: WORDS"}"#, Refused),
        (400, "x-amzn-ErrorType: MessageRejected\r\n", r#"{"message":"Virus: WORDS"}"#, Refused),
        (
            400,
            "x-amzn-ErrorType: MessageRejected\r\n",
            r#"{"message":"Email address is not verified. WORDS"}"#,
            ProviderRefused,
        ),
        (
            400,
            "",
            r#"{"__type":"com.amazonaws.ses#SendingPausedException","message":"WORDS"}"#,
            ProviderRefused,
        ),
        (400, "", r#"{"__type":"Throttling","message":"Maximum sending rate exceeded."}"#, Throttled),
        (400, "", r#"{"__type":"Throttling","message":"Daily message quota exceeded."}"#, ProviderRefused),
        (403, "x-amzn-ErrorType: InvalidSignatureException\r\n", r#"{"message":"WORDS"}"#, ProviderRefused),
        (413, "", "", Refused),
        (500, "x-amzn-ErrorType: InternalServiceErrorException\r\n", r#"{"message":"WORDS"}"#, Unknown),
        (503, "", "WORDS", Unknown),
    ],
    unsendable: &[
        ("at most 50 recipients, and these are 51", to_many),
        ("from its template", template_with_text),
    ],
};
