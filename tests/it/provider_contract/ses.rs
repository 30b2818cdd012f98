//! What only Amazon SES has: signed requests, and SNS before its events.

use std::sync::atomic::Ordering;

use kakitome::notification::Template;
use kakitome::provider::ses::{FetchError, SesEvents};
use kakitome::provider::{EventKind, EventSource, Post, WebhookError};
use ring::hmac;
use serde_json::{Value, json};
use sha2::{Digest, Sha256};

use super::ears::{Happening, POSTED_AT, at, post_of, ses, ses_body, ses_post, sns_fixture};
use super::sides::{KEY_ID, REGION, SIDES};
use super::{id, notification};
use crate::sendgrid::loopback::Server;

fn hex(bytes: impl AsRef<[u8]>) -> String {
    bytes.as_ref().iter().map(|byte| format!("{byte:02x}")).collect()
}

fn mac(key: &[u8], text: &str) -> Vec<u8> {
    hmac::sign(&hmac::Key::new(hmac::HMAC_SHA256, key), text.as_bytes()).as_ref().to_vec()
}

/// Signature Version 4, worked out here from what came over the wire.
#[tokio::test]
async fn a_request_is_signed_as_aws_wants_it() {
    let side = &SIDES[2];
    let mut server = Server::answering(200, "", side.taken.2).await;
    (side.provider)(&server.base_url).send(id(), &notification()).await.unwrap();
    let (head, body) = server.request().await;
    let header = |name: &str| {
        let mut lines = head.lines().filter_map(|line| line.split_once(": "));
        lines.find(|(key, _)| key.eq_ignore_ascii_case(name)).unwrap().1.to_owned()
    };
    let (date, host) = (header("x-amz-date"), header("host"));
    let signed = "content-type;host;x-amz-date";
    let canonical = format!(
        "POST\n/v2/email/outbound-emails\n\ncontent-type:application/json\nhost:{host}\nx-amz-date:{date}\n\n{signed}\n{}",
        hex(Sha256::digest(&body))
    );
    let scope = format!("{}/{REGION}/ses/aws4_request", &date[..8]);
    let to_sign = format!("AWS4-HMAC-SHA256\n{date}\n{scope}\n{}", hex(Sha256::digest(&canonical)));
    let mut key = b"AWS4the-key-itself".to_vec();
    for part in [&date[..8], REGION, "ses", "aws4_request"] {
        key = mac(&key, part);
    }
    let signature = hex(mac(&key, &to_sign));
    assert_eq!(
        header("authorization"),
        format!(
            "AWS4-HMAC-SHA256 Credential={KEY_ID}/{scope}, SignedHeaders={signed}, Signature={signature}"
        )
    );
}

#[tokio::test]
async fn a_template_is_filled_by_ses_and_one_that_is_not_there_stops_nobody_else() {
    let side = &SIDES[2];
    let mut asked = notification();
    (asked.subject, asked.text) = (None, None);
    let data = serde_json::Map::from_iter([("room".to_owned(), json!("桜"))]);
    asked.template = Some(Template { id: "welcome".into(), data });
    let body = r#"{"message":"Template welcome does not exist"}"#;
    let mut server = Server::answering(404, "x-amzn-ErrorType: NotFoundException\r\n", body).await;
    let error = (side.provider)(&server.base_url).send(id(), &asked).await.unwrap_err();
    assert_eq!(error.class, kakitome::provider::SendErrorClass::Refused);
    let request: Value = serde_json::from_str(&server.request().await.1).unwrap();
    assert_eq!(
        request["Content"],
        json!({"Template": {"TemplateName": "welcome", "TemplateData": "{\"room\":\"桜\"}"}})
    );
}

fn fixture_post(name: &str) -> Post {
    post_of(&[], &sns_fixture()["posts"][name].to_string())
}

#[tokio::test]
async fn posts_signed_by_another_implementation_are_taken_in_both_versions() {
    let (sns, source) = ses();
    for name in ["version_1_with_subject", "version_2"] {
        let events = source.events(fixture_post(name), at(POSTED_AT)).await.unwrap();
        assert_eq!((events[0].id, &events[0].kind), (Some(id()), &EventKind::Delivered), "{name}");
        let mut changed: Value = sns_fixture()["posts"][name].clone();
        changed["Timestamp"] = "2026-11-21T08:59:58.123Z".into();
        let refused = source.events(post_of(&[], &changed.to_string()), at(POSTED_AT)).await;
        assert!(matches!(refused, Err(WebhookError::Signature(_))), "{name}: {refused:?}");
    }
    // The signature of one version does not pass for the other's.
    let mut crossed: Value = sns_fixture()["posts"]["version_2"].clone();
    crossed["SignatureVersion"] = "1".into();
    assert!(source.events(post_of(&[], &crossed.to_string()), at(POSTED_AT)).await.is_err());
    assert_eq!(sns.times.load(Ordering::SeqCst), 1, "the certificate is fetched once");
}

#[tokio::test]
async fn a_subscription_of_the_configured_topic_is_confirmed_and_no_other() {
    let (sns, source) = ses();
    let url =
        sns_fixture()["posts"]["subscription_confirmation"]["SubscribeURL"].as_str().unwrap().to_owned();
    let url = reqwest::Url::parse(&url).unwrap().to_string();
    sns.pages.lock().unwrap().insert(url.clone(), Err(FetchError::Unavailable("down".into())));
    let confirm = || source.events(fixture_post("subscription_confirmation"), at(POSTED_AT));
    assert!(matches!(confirm().await, Err(WebhookError::Unavailable(_))), "SNS is to post it again");
    sns.pages.lock().unwrap().insert(url.clone(), Ok("<ConfirmSubscriptionResponse/>".into()));
    assert_eq!(confirm().await.unwrap(), vec![]);
    assert_eq!(sns.asked.lock().unwrap().last(), Some(&url));
    let asked = sns.times.load(Ordering::SeqCst);
    let elsewhere = source.events(fixture_post("subscription_elsewhere"), at(POSTED_AT)).await;
    assert!(matches!(elsewhere, Err(WebhookError::Malformed(_))), "{elsewhere:?}");
    let other = SesEvents::new("ses", "arn:aws:sns:ap-northeast-1:123456789012:other", sns.clone());
    let foreign = other.events(fixture_post("subscription_confirmation"), at(POSTED_AT)).await;
    assert!(matches!(foreign, Err(WebhookError::Signature(_))), "{foreign:?}");
    assert_eq!(sns.times.load(Ordering::SeqCst), asked, "nothing was asked for either");
    assert_eq!(source.events(fixture_post("unsubscribe_confirmation"), at(POSTED_AT)).await.unwrap(), vec![]);
}

#[tokio::test]
async fn certificates_come_from_sns_alone_and_forgeries_do_not_make_us_fetch_for_each() {
    let (sns, source) = ses();
    let with = |url: &str| {
        let mut post: Value = sns_fixture()["posts"]["version_2"].clone();
        post["SigningCertURL"] = url.into();
        post_of(&[], &post.to_string())
    };
    for url in [
        "https://evil.example/SimpleNotificationService-0123.pem",
        "http://sns.ap-northeast-1.amazonaws.com/SimpleNotificationService-0123.pem",
        "https://sns.ap-northeast-1.amazonaws.com/other.pem",
        "https://sns.ap-northeast-1.amazonaws.com/SimpleNotificationService-../../x.pem",
        "https://sns.ap-northeast-1.amazonaws.com/SimpleNotificationService-0123.pem?x=1",
        "not a url",
    ] {
        let refused = source.events(with(url), at(POSTED_AT)).await;
        assert!(matches!(refused, Err(WebhookError::Signature(_))), "{url}: {refused:?}");
    }
    assert_eq!(sns.times.load(Ordering::SeqCst), 0);
    let missing = "https://sns.ap-northeast-1.amazonaws.com/SimpleNotificationService-ffff.pem";
    for _ in 0..5 {
        assert!(matches!(source.events(with(missing), at(POSTED_AT)).await, Err(WebhookError::Signature(_))));
    }
    assert_eq!(sns.times.load(Ordering::SeqCst), 1, "a certificate that is not there is not asked for again");
    assert!(source.events(with(missing), at(POSTED_AT + 61)).await.is_err());
    assert_eq!(sns.times.load(Ordering::SeqCst), 2, "but later it is");
    let set = |page| sns.pages.lock().unwrap().insert(missing.to_owned(), page);
    set(Err(FetchError::Unavailable("no answer in time".into())));
    let put_off = source.events(with(missing), at(POSTED_AT + 200)).await;
    assert!(matches!(put_off, Err(WebhookError::Unavailable(_))), "{put_off:?}");
    set(Ok(sns_fixture()["expired_certificate"].as_str().unwrap().to_owned()));
    let expired = source.events(with(missing), at(POSTED_AT + 200)).await;
    assert!(matches!(expired, Err(WebhookError::Signature(_))), "{expired:?}");
    for n in 0..40 {
        let url = format!("https://sns.ap-northeast-1.amazonaws.com/SimpleNotificationService-{n:04}.pem");
        assert!(source.events(with(&url), at(POSTED_AT)).await.is_err());
    }
    assert!(
        source.events(fixture_post("version_2"), at(POSTED_AT)).await.is_ok(),
        "and the genuine one still is"
    );
}

#[tokio::test]
async fn an_event_about_several_recipients_becomes_one_for_each() {
    let (_, source) = ses();
    let of = async |happening, change: fn(&mut Value)| {
        let mut event: Value = serde_json::from_str(&ses_body(happening, "guest@example.com", 1)).unwrap();
        event["mail"]["destination"] = json!(["guest@example.com", "Other <other@example.com>"]);
        change(&mut event);
        let events =
            source.events(ses_post(&event.to_string(), POSTED_AT, "m"), at(POSTED_AT)).await.unwrap();
        let shown = events.into_iter().map(|event| {
            let recipient = event.recipient.map(|recipient| recipient.reveal().to_owned());
            (event.event_id.unwrap(), recipient, event.kind.as_str().to_owned(), event.detail)
        });
        shown.collect::<Vec<_>>()
    };
    let bounced = of(Happening::Bounced, |event| {
        let other =
            json!({"emailAddress": "other@example.com", "diagnosticCode": "smtp; 552", "status": "5.2.2"});
        event["bounce"]["bouncedRecipients"].as_array_mut().unwrap().push(other);
    });
    let bounced = bounced.await;
    assert_eq!(bounced.len(), 2);
    assert_eq!((bounced[1].0.as_str(), bounced[1].1.as_deref()), ("m:1", Some("other@example.com")));
    assert_eq!(
        (&bounced[0].3["reason"], &bounced[1].3["reason"]),
        (&json!("smtp; 550"), &json!("smtp; 552"))
    );
    assert_eq!(bounced[1].3["type"], "Permanent");
    assert_eq!(of(Happening::Processed, |_| {}).await.len(), 2, "everybody");
    let opened = of(Happening::Opened, |_| {}).await;
    assert_eq!((opened.len(), opened[0].1.as_deref()), (1, None), "it does not say who it was");
    let suppressed = of(Happening::Complained, |event| {
        event["complaint"]["complaintSubType"] = "OnAccountSuppressionList".into();
    });
    assert_eq!(suppressed.await[0].2, "dropped");
    let rendering = of(Happening::Dropped, |event| {
        event["eventType"] = "Rendering Failure".into();
        event["failure"] = json!({"errorMessage": "no such attribute", "templateName": "welcome"});
    });
    let rendering = rendering.await;
    assert_eq!((rendering.len(), rendering[0].2.as_str()), (2, "dropped"), "taken, and never sent");
    assert_eq!(rendering[0].3["reason"], "no such attribute");
    assert_eq!(of(Happening::Opened, |event| event["eventType"] = "Teleport".into()).await[0].2, "Teleport");
}

#[tokio::test]
async fn a_sentence_instead_of_an_event_and_raw_delivery_are_told_apart() {
    let (_, source) = ses();
    let sentence = "Successfully validated SNS topic for Amazon SES event publishing.";
    assert_eq!(source.events(ses_post(sentence, POSTED_AT, "m"), at(POSTED_AT)).await.unwrap(), vec![]);
    let raw = post_of(&[], &ses_body(Happening::Bounced, "guest@example.com", 1));
    let error = source.events(raw, at(POSTED_AT)).await.unwrap_err();
    assert!(
        error.to_string().contains("raw message delivery") && !error.to_string().contains('@'),
        "{error}"
    );
}
