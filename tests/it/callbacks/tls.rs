//! Over real TLS: whose certificate is trusted, and what becomes of a message for one whose is not.

use std::net::SocketAddr;
use std::str::FromStr;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use kakitome::callbacks::Outcome;
use kakitome::callbacks::post::{Authorities, HttpCourier, Resolver};
use kakitome::clock::Clock;
use kakitome::feed::courier::{Courier, Message, PostError};
use p256::ecdsa::{DerSignature, SigningKey};
use p256::elliptic_curve::Generate;
use p256::pkcs8::EncodePrivateKey;
use rustls::ServerConfig;
use rustls::pki_types::{PrivateKeyDer, PrivatePkcs8KeyDer};
use serde_json::{Value, json};
use tokio::net::{TcpListener, TcpStream};
use tokio_rustls::TlsAcceptor;
use tokio_rustls::server::TlsStream;
use x509_cert::builder::profile::cabf::Root;
use x509_cert::builder::profile::cabf::tls::{CertificateType, Subscriber};
use x509_cert::builder::{Builder, CertificateBuilder};
use x509_cert::der::asn1::{Ia5String, UtcTime};
use x509_cert::der::pem::LineEnding;
use x509_cert::der::{Encode, EncodePem};
use x509_cert::ext::pkix::SubjectAltName;
use x509_cert::ext::pkix::name::GeneralName;
use x509_cert::name::Name;
use x509_cert::serial_number::SerialNumber;
use x509_cert::spki::SubjectPublicKeyInfoOwned;
use x509_cert::time::{Time, Validity};

use super::guard::Names;
use super::receiver::Receiver;
use super::{Bench, HOUR};
use crate::conformance::start;
use crate::process::{KEY, Kakitome, http};

/// Who issues certificates.
struct Authority {
    key: SigningKey,
    name: Name,
    pem: String,
}

fn validity(days_from: i32, days_to: i32) -> Validity {
    let day = |days: i32| {
        let now = Duration::from_millis(Clock::system().now().as_ms().cast_unsigned());
        let span = HOUR * 24 * days.unsigned_abs();
        let at = if days < 0 { now - span } else { now + span };
        Time::UtcTime(UtcTime::from_unix_duration(at).unwrap())
    };
    Validity::new(day(days_from), day(days_to))
}

fn key() -> (SigningKey, SubjectPublicKeyInfoOwned) {
    let key = SigningKey::generate_from_rng(&mut rand::rng());
    let public = SubjectPublicKeyInfoOwned::from_key(key.verifying_key()).unwrap();
    (key, public)
}

impl Authority {
    fn new(name: &str) -> Self {
        let (key, public) = key();
        let name = Name::from_str(&format!("CN={name},O=Tests,C=JP")).unwrap();
        let root = Root::new(false, name.clone()).unwrap();
        let builder = CertificateBuilder::new(root, SerialNumber::from(1u32), validity(-30, 30), public);
        let certificate = builder.unwrap().build::<_, DerSignature>(&key).unwrap();
        Self { key, name, pem: certificate.to_pem(LineEnding::LF).unwrap() }
    }

    /// What a server of this name shows.
    fn issue(&self, host: &str, validity: Validity) -> Arc<ServerConfig> {
        let (key, public) = key();
        let names = vec![GeneralName::DnsName(Ia5String::new(host).unwrap())];
        let profile = Subscriber {
            certificate_type: CertificateType::domain_validated(
                Name::from_str("C=JP").unwrap(),
                names.clone(),
            )
            .unwrap(),
            issuer: self.name.clone(),
            client_auth: false,
        };
        let mut builder =
            CertificateBuilder::new(profile, SerialNumber::from(2u32), validity, public).unwrap();
        // The profile checks the names and leaves them out.
        builder.add_extension(&SubjectAltName(names)).unwrap();
        let certificate = builder.build::<_, DerSignature>(&self.key).unwrap().to_der().unwrap();
        let key = PrivatePkcs8KeyDer::from(key.to_pkcs8_der().unwrap().as_bytes().to_vec());
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let config = ServerConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_no_client_auth()
            .with_single_cert(vec![certificate.into()], PrivateKeyDer::Pkcs8(key));
        Arc::new(config.unwrap())
    }

    fn courier(&self, names: Arc<dyn Resolver>) -> HttpCourier {
        HttpCourier::new(true, names).trusting(Authorities::parse(&self.pem).unwrap())
    }
}

/// Takes TLS connections, with the certificate that it has at that moment.
struct Door {
    listener: TcpListener,
    shown: Arc<Mutex<Arc<ServerConfig>>>,
}

impl axum::serve::Listener for Door {
    type Io = TlsStream<TcpStream>;
    type Addr = SocketAddr;

    async fn accept(&mut self) -> (Self::Io, Self::Addr) {
        loop {
            let (stream, from) = self.listener.accept().await.unwrap();
            let config = self.shown.lock().unwrap().clone();
            // Whoever does not like what it is shown hangs up.
            if let Ok(stream) = TlsAcceptor::from(config).accept(stream).await {
                return (stream, from);
            }
        }
    }

    fn local_addr(&self) -> std::io::Result<Self::Addr> {
        self.listener.local_addr()
    }
}

/// The name that the endpoint goes by; no resolver of the machine knows it.
const HOST: &str = "producer.test";

/// An endpoint over TLS, and what it shows, which may be exchanged.
async fn open(host: &str, shown: Arc<ServerConfig>) -> (Receiver, Arc<Mutex<Arc<ServerConfig>>>) {
    let _tls = http();
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    let shown = Arc::new(Mutex::new(shown));
    let door = Door { listener, shown: shown.clone() };
    (Receiver::behind(door, format!("https://{host}:{port}/hook"), port), shown)
}

fn loopback() -> Arc<Names> {
    Names::saying(&[&["127.0.0.1"]])
}

fn message() -> Message {
    Message { id: "msg_1".into(), seconds: 1, signature: "v1,x".into(), body: "{}".into() }
}

#[tokio::test]
async fn a_certificate_by_an_authority_of_ones_own_is_trusted_once_it_is_named() {
    let ours = Authority::new("Ours");
    let (receiver, _) = open(HOST, ours.issue(HOST, validity(-1, 1))).await;
    assert_eq!(ours.courier(loopback()).post(&receiver.url, &message()).await, Ok(()));
    assert_eq!(receiver.ids(), ["msg_1"]);
    // Two in one file, as they are while one takes the other's place.
    let both = Authorities::parse(&format!("{}\n{}", Authority::new("Former").pem, ours.pem)).unwrap();
    let courier = HttpCourier::new(true, loopback()).trusting(both);
    assert_eq!(courier.post(&receiver.url, &message()).await, Ok(()));
}

#[tokio::test]
async fn a_message_for_an_endpoint_that_cannot_prove_its_name_is_kept_until_it_can() {
    let (ours, other) = (Authority::new("Ours"), Authority::new("Another"));
    let good = ours.issue(HOST, validity(-1, 1));
    for (shown, said) in [
        (other.issue(HOST, validity(-1, 1)), "nobody who is trusted issued its certificate"),
        (ours.issue("another.test", validity(-1, 1)), "its certificate is another name's"),
        (ours.issue(HOST, validity(-2, -1)), "its certificate has expired"),
        (ours.issue(HOST, validity(1, 2)), "its certificate is not valid"),
    ] {
        let (home, clock) = (tempfile::tempdir().unwrap(), Clock::manual(start()));
        let (receiver, endpoint) = open(HOST, shown).await;
        let courier = Arc::new(ours.courier(loopback()));
        let config = kakitome::callbacks::Config { alone: true, ..kakitome::callbacks::Config::default() };
        let bench = Bench::open_with(home.path(), &clock, courier, config);
        let (id, secret) = bench.add("default", &receiver.url, &[]).await;
        bench.sent("default", 2).await;
        let Outcome::Wait(wait) = bench.step(&id).await else { panic!("it waits: {said}") };
        let batch = bench.callback(&id).await.batch.unwrap();
        assert_eq!((batch.error.as_deref(), receiver.posts().len()), (Some(said), 0));
        *endpoint.lock().unwrap() = good.clone();
        clock.advance(wait);
        assert_eq!(bench.drain(&id).await, Outcome::Idle);
        assert_eq!(receiver.ids(), [batch.id], "the very message, once");
        assert_eq!(receiver.events().len(), 2);
        assert!(receiver.posts()[0].is_signed_with(secret.reveal()));
    }
}

#[tokio::test]
async fn a_good_certificate_opens_no_way_to_a_private_address() {
    let ours = Authority::new("Ours");
    let (receiver, _) = open(HOST, ours.issue(HOST, validity(-1, 1))).await;
    let courier = HttpCourier::new(false, loopback()).trusting(Authorities::parse(&ours.pem).unwrap());
    for url in [format!("https://{HOST}:8443/hook"), "https://127.0.0.1:8443/hook".to_owned()] {
        let refused = Err(PostError::Forbidden("its host leads to an address that is not public"));
        assert_eq!(courier.check(&url).await, refused, "{url}");
        assert_eq!(courier.post(&url, &message()).await, refused, "{url}");
    }
    assert!(receiver.posts().is_empty());
}

#[tokio::test]
async fn without_tls_nothing_is_posted_to_an_endpoint_over_tls() {
    let ours = Authority::new("Ours");
    let (receiver, _) = open(HOST, ours.issue(HOST, validity(-1, 1))).await;
    let courier = ours.courier(loopback());
    let plain = receiver.url.replace("https://", "http://");
    assert_eq!(courier.post(&plain, &message()).await, Err(PostError::Unreachable));
    assert!(receiver.posts().is_empty());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_server_trusts_the_authorities_in_the_file_that_it_is_given() {
    if crate::backend::is_aws() {
        return;
    }
    let (home, ours) = (tempfile::tempdir().unwrap(), Authority::new("Ours"));
    let (receiver, _) = open("localhost", ours.issue("localhost", validity(-1, 1))).await;
    let file = home.path().join("authorities.pem");
    std::fs::write(&file, &ours.pem).unwrap();
    let insecure = ("KAKITOME_CALLBACK_ALLOW_INSECURE", "true".to_owned());
    let named = ("KAKITOME_CALLBACK_CA_FILE", file.display().to_string());
    let mut answers = Vec::new();
    for env in [&[insecure.clone(), named][..], &[insecure]] {
        let server = Kakitome::start(home.path(), &["serve"], env);
        let post = async |path: &str, body: Value| -> Value {
            let request = http().post(format!("{}{path}", server.url)).bearer_auth(KEY);
            let request = request.header("content-type", "application/json").body(body.to_string());
            serde_json::from_slice(&request.send().await.unwrap().bytes().await.unwrap()).unwrap()
        };
        let made = post("/v1/callbacks", json!({"url": receiver.url})).await;
        let id = made["callback"]["id"].as_str().unwrap();
        let tried = post(&format!("/v1/callbacks/{id}/test"), json!({})).await;
        answers.push((tried["ok"].as_bool(), tried["error"].as_str().map(str::to_owned)));
        server.terminate();
    }
    let distrusted = Some("nobody who is trusted issued its certificate".to_owned());
    assert_eq!((answers, receiver.posts().len()), (vec![(Some(true), None), (Some(false), distrusted)], 1));
}

#[test]
fn what_is_no_certificate_is_no_authority() {
    let whole = Authority::new("Ours").pem;
    let cut = whole.replacen("MII", "AAA", 1);
    for text in ["", "§", "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n", &cut] {
        assert!(Authorities::parse(text).is_none(), "{text}");
        let beside_a_good_one = Authorities::parse(&format!("{whole}{text}"));
        assert_eq!(beside_a_good_one.is_none(), text.contains("BEGIN"), "{text}");
    }
}
