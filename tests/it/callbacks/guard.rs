//! Where nothing is posted, however it is asked for.

use std::io;
use std::net::IpAddr;
use std::sync::{Arc, Mutex};

use async_trait::async_trait;
use kakitome::callbacks::post::{HttpCourier, Resolver};
use kakitome::feed::courier::{Courier, Message, PostError};

use super::receiver::{Mood, Receiver};

/// Says what it is told to say, and remembers what it was asked.
#[derive(Default)]
pub struct Names {
    answers: Mutex<Vec<Vec<IpAddr>>>,
    asked: Mutex<Vec<String>>,
}

impl Names {
    /// One answer after the other; the last for ever.
    pub fn saying(answers: &[&[&str]]) -> Arc<Self> {
        let parse = |answer: &&[&str]| answer.iter().map(|text| text.parse().unwrap()).collect();
        Arc::new(Self { answers: Mutex::new(answers.iter().map(parse).collect()), ..Self::default() })
    }
}

#[async_trait]
impl Resolver for Names {
    async fn resolve(&self, host: &str) -> io::Result<Vec<IpAddr>> {
        self.asked.lock().unwrap().push(host.to_owned());
        let mut answers = self.answers.lock().unwrap();
        Ok(if answers.len() > 1 { answers.remove(0) } else { answers[0].clone() })
    }
}

fn message() -> Message {
    Message { id: "msg_1".into(), seconds: 1, signature: "v1,x".into(), body: "{}".into() }
}

fn private() -> Result<(), PostError> {
    Err(PostError::Forbidden("its host leads to an address that is not public"))
}

#[tokio::test]
async fn a_name_that_leads_to_a_private_address_is_refused_when_it_is_added_and_when_it_is_posted_to() {
    let _tls = crate::process::http();
    for addresses in [
        &["127.0.0.1"][..],
        &["10.1.2.3"],
        &["169.254.169.254"],
        &["::1"],
        &["fd00:ec2::254"],
        &["::ffff:10.0.0.1"],
        &["8.8.8.8", "192.168.1.1"],
    ] {
        let courier = HttpCourier::new(false, Names::saying(&[addresses]));
        assert_eq!(courier.check("https://producer.example/hook").await, private(), "{addresses:?}");
        assert_eq!(
            courier.post("https://producer.example/hook", &message()).await,
            private(),
            "{addresses:?}"
        );
    }
}

#[tokio::test]
async fn a_name_that_was_public_when_it_was_added_is_judged_again_at_every_post() {
    let _tls = crate::process::http();
    let names = Names::saying(&[&["8.8.8.8"], &["127.0.0.1"]]);
    let courier = HttpCourier::new(false, names.clone());
    assert_eq!(courier.check("https://producer.example/hook").await, Ok(()));
    for _ in 0..2 {
        assert_eq!(courier.post("https://producer.example/hook", &message()).await, private());
    }
    assert_eq!(names.asked.lock().unwrap().len(), 3);
}

#[tokio::test]
async fn the_connection_goes_to_the_very_address_that_was_judged() {
    let receiver = Receiver::open().await;
    // A name that no resolver of the machine knows: only what we resolved can be where the post arrived.
    let names = Names::saying(&[&["127.0.0.1"]]);
    let courier = HttpCourier::new(true, names.clone());
    let url = format!("http://producer.invalid:{}/hook", receiver.port);
    assert_eq!(courier.post(&url, &message()).await, Ok(()));
    assert_eq!(
        (receiver.posts().len(), names.asked.lock().unwrap().as_slice()),
        (1, &["producer.invalid".to_owned()][..])
    );
}

#[tokio::test]
async fn an_address_in_the_url_is_judged_although_no_resolver_is_asked() {
    let names = Names::saying(&[&["8.8.8.8"]]);
    let courier = HttpCourier::new(false, names.clone());
    for url in
        ["https://127.0.0.1/", "https://[::ffff:a00:1]/", "https://0x7f.1:8443/", "https://169.254.169.254/"]
    {
        assert_eq!(courier.check(url).await, private(), "{url}");
        assert_eq!(courier.post(url, &message()).await, private(), "{url}");
    }
    assert!(names.asked.lock().unwrap().is_empty());
}

#[tokio::test]
async fn a_redirect_is_not_followed() {
    let (receiver, inside) = (Receiver::open().await, Receiver::open().await);
    receiver.is(Mood::Sending(inside.port));
    let courier = HttpCourier::new(true, Names::saying(&[&["127.0.0.1"]]));
    let posted = courier.post(&receiver.url, &message()).await;
    assert_eq!(posted, Err(PostError::Answer { status: 307, retry_after: None }));
    assert_eq!((receiver.posts().len(), inside.posts().len()), (1, 0));
}

#[tokio::test]
async fn the_environments_proxy_is_not_asked() {
    // reqwest reads it when a client is made; this process' own must not be touched, so a child process looks.
    let (home, receiver, proxy) =
        (tempfile::tempdir().unwrap(), Receiver::open().await, Receiver::open().await);
    let proxy_url = format!("http://127.0.0.1:{}", proxy.port);
    let env = [
        ("KAKITOME_CALLBACK_ALLOW_INSECURE", "true".to_owned()),
        ("http_proxy", proxy_url.clone()),
        ("HTTP_PROXY", proxy_url.clone()),
        ("ALL_PROXY", proxy_url),
    ];
    let server = crate::process::Kakitome::start(home.path(), &["serve"], &env);
    let http = crate::process::http();
    let key = crate::process::KEY;
    let post = async |path: &str, body: serde_json::Value| {
        let url = format!("{}{path}", server.url);
        let request = http.post(url).bearer_auth(key).header("content-type", "application/json");
        let answer = request.body(body.to_string()).send().await.unwrap();
        serde_json::from_slice::<serde_json::Value>(&answer.bytes().await.unwrap()).unwrap()
    };
    let made = post("/v1/callbacks", serde_json::json!({"url": receiver.url})).await;
    let id = made["callback"]["id"].as_str().unwrap();
    let tried = post(&format!("/v1/callbacks/{id}/test"), serde_json::json!({})).await;
    assert_eq!(
        (tried["ok"].as_bool(), receiver.posts().len(), proxy.posts().len()),
        (Some(true), 1, 0),
        "{tried}"
    );
}
