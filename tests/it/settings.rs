//! What a configuration is read from, and how a bad one is refused.

use std::path::PathBuf;
use std::time::Duration;

use kakitome::api::auth::Scope;
use kakitome::settings::keys::{self, AWS_KEYS, KEYS, Key, Kind};
use kakitome::settings::{ConfigFile, Faults, FlagValue, ProviderName, Roles, Settings, Sources};
use tempfile::TempDir;

struct World {
    dir: TempDir,
    sources: Sources,
}

fn world() -> World {
    World { dir: TempDir::new().unwrap(), sources: Sources::default() }
}

/// A world in which this key has a place: those of the AWS backend need that backend and each other.
fn world_for(key: &Key) -> World {
    let aws = [
        ("KAKITOME_BACKEND", "aws"),
        ("KAKITOME_SQS_QUEUE_URL", "https://sqs.example/1/q"),
        ("KAKITOME_SQS_DEAD_LETTER_URL", "https://sqs.example/1/d"),
        ("KAKITOME_DYNAMODB_TABLE", "kakitome"),
    ];
    let others = aws.into_iter().filter(|(name, _)| AWS_KEYS.contains(&key.path) && *name != key.env());
    others.fold(world(), |world, (name, value)| world.env(name, value))
}

impl World {
    fn env(mut self, name: &str, value: &str) -> Self {
        self.sources.env.push((name.to_owned(), value.to_owned()));
        self
    }

    fn flag(mut self, flag: &'static str, path: &'static str, value: &str) -> Self {
        self.sources.flags.push(FlagValue { flag, path, value: value.to_owned() });
        self
    }

    fn toml(mut self, text: &str) -> Self {
        let path = self.write("kakitome.toml", text);
        self.sources.file = Some(ConfigFile { path, must_exist: true });
        self
    }

    fn write(&self, name: &str, text: &str) -> PathBuf {
        let path = self.dir.path().join(name);
        std::fs::write(&path, text).unwrap();
        path
    }

    fn load(&self) -> Result<Settings, Faults> {
        Settings::load(&self.sources)
    }

    fn refused(&self) -> String {
        let faults = self.load().expect_err("it should be refused").to_string();
        faults.replace(&self.dir.path().display().to_string(), "DIR")
    }
}

#[test]
fn nothing_configured_is_a_good_configuration() {
    let settings = world().load().unwrap();
    assert_eq!(settings.listen.to_string(), "127.0.0.1:7625");
    assert_eq!(settings.data_dir, PathBuf::from("./data"));
    assert_eq!(settings.providers, [ProviderName::Sandbox]);
    assert_eq!(settings.alert_delay, Duration::from_secs(600));
    assert_eq!(settings.worker.hold, Duration::from_secs(600));
    assert_eq!(settings.limits.notification_bytes, 10 << 20);
    assert_eq!(settings.limits.requests_per_second, None);
    assert!(settings.warnings.is_empty(), "{:?}", settings.warnings);
    settings.check_roles(Roles::ALL).unwrap();
}

#[test]
fn flags_beat_the_environment_which_beats_the_file_which_beats_the_defaults() {
    let file =
        "listen = '127.0.0.1:1'\ndata_dir = 'of-file'\nurl = 'http://of-file'\n[worker]\nmax_attempts = 3\n";
    let world = world()
        .toml(file)
        .env("KAKITOME_LISTEN", "127.0.0.1:2")
        .env("KAKITOME_DATA_DIR", "of-env")
        .flag("--listen", "listen", "127.0.0.1:3");
    let settings = world.load().unwrap();
    assert_eq!(settings.listen.port(), 3);
    assert_eq!(settings.data_dir, PathBuf::from("of-env"));
    assert_eq!(settings.url.as_deref(), Some("http://of-file"));
    assert_eq!(settings.worker.max_attempts, 3);
    assert_eq!(settings.queue.max_receive_count, 100);
}

#[test]
fn an_empty_variable_is_an_unset_one_and_foreign_variables_are_ignored() {
    let settings = world().env("KAKITOME_URL", "").env("PATH", "/bin").load().unwrap();
    assert_eq!(settings.url, None);
}

#[test]
fn every_fault_is_told_at_once_with_its_key_its_value_and_what_is_allowed() {
    let world = world()
        .toml("[worker]\nlease = '5 parsecs'\nmax_attempts = 0\n\n[queu]\nvisibility = '60s'\n")
        .env("KAKITOME_LISTEN", "localhost")
        .env("KAKITOME_PROVIDER", "sandbox,sandbox")
        .env("KAKITOME_WROKER_HOLD", "1s")
        .flag("--url", "url", "ftp://example.com");
    insta::assert_snapshot!(world.refused());
}

#[test]
fn every_key_refuses_a_value_that_does_not_fit_and_names_itself_the_value_and_the_range() {
    for key in KEYS.iter().filter(|key| !matches!(key.kind, Kind::Text | Kind::Path)) {
        let (bad, shown) = match key.kind {
            Kind::Secret => ("two words", "a secret"),
            Kind::Certificates => ("§", "2 bytes"),
            Kind::LogFilter => ("info,=x=", "info,=x="),
            Kind::Count(..) => ("-1", "-1"),
            _ => ("§", "§"),
        };
        let said = world_for(key).env(&key.env(), bad).refused();
        assert!(said.contains(&format!("{}=", key.env())) && said.contains(shown), "{said}");
        let allowed = if matches!(key.kind, Kind::Secret) { "one word".into() } else { key.kind.allowed() };
        assert!(said.contains(&allowed), "{said}");
    }
}

#[test]
fn every_default_fits_its_own_key() {
    for key in &KEYS {
        if let Some(default) = key.default {
            world_for(key)
                .env(&key.env(), default)
                .load()
                .unwrap_or_else(|faults| panic!("{}: {faults}", key.path));
        }
    }
}

#[test]
fn a_range_includes_its_ends_and_nothing_beyond() {
    let attempts = |n: &str| world().env("KAKITOME_WORKER_MAX_ATTEMPTS", n).load().is_ok();
    assert_eq!(["0", "1", "100", "101"].map(attempts), [false, true, true, false]);
    let size = |n: &str| world().env("KAKITOME_LIMITS_NOTIFICATION_SIZE", n).load().is_ok();
    assert_eq!(["1023", "1KiB", "30MiB", "31MiB"].map(size), [false, true, true, false]);
}

#[test]
fn broken_toml_is_refused_with_its_line_and_without_its_text() {
    let said = world().toml("# a key\napi_key = \"kk_topsecret\nlisten = 1\n").refused();
    assert!(said.contains("line 2"), "{said}");
    assert!(!said.contains("topsecret"), "{said}");
}

#[test]
fn a_file_that_was_named_must_be_there_and_the_default_one_need_not() {
    let mut world = world();
    world.sources.file = Some(ConfigFile { path: world.dir.path().join("none.toml"), must_exist: true });
    assert!(world.refused().contains("none.toml"), "{}", world.refused());
    world.sources.file = Some(ConfigFile { path: world.dir.path().join("none.toml"), must_exist: false });
    world.load().unwrap();
}

#[test]
fn a_secret_may_come_from_a_file_and_never_shows() {
    let world = world();
    let path = world.write("key", "kk_topsecret\n").display().to_string();
    let world = world.env("KAKITOME_API_KEY_FILE", &path).env("KAKITOME_SENDGRID_API_KEY", "SG.topsecret");
    let settings = world.load().unwrap();
    assert_eq!(settings.api_key.as_ref().unwrap().reveal(), "kk_topsecret");
    assert!(!format!("{settings:?}").contains("topsecret"));
}

#[test]
fn a_secret_given_twice_or_from_an_unreadable_or_empty_file_is_refused() {
    let world = world();
    let (path, empty) = (world.write("key", "x"), world.write("empty", " \n"));
    let world = world
        .env("KAKITOME_API_KEY", "kk_topsecret")
        .env("KAKITOME_API_KEY_FILE", &path.display().to_string())
        .env("KAKITOME_SENDGRID_API_KEY_FILE", "no/such/file")
        .env("KAKITOME_SLACK_WEBHOOK_URL_FILE", &empty.display().to_string());
    let said = world.refused();
    assert!(!said.contains("topsecret"), "{said}");
    insta::assert_snapshot!(said);
}

#[test]
fn the_stronger_source_wins_whether_it_gives_a_value_or_a_file() {
    let world = world();
    let path = world.write("key", "of-file-flag").display().to_string();
    let world = world.env("KAKITOME_API_KEY", "of-env").flag("--api-key-file", "api_key_file", &path);
    assert_eq!(world.load().unwrap().api_key.unwrap().reveal(), "of-file-flag");
}

#[test]
fn webhook_keys_may_be_several_or_a_pem_file() {
    let two = world().env("KAKITOME_SENDGRID_WEBHOOK_KEY", "QUJD, REVG").load().unwrap();
    assert_eq!(two.sendgrid.webhook_keys, ["QUJD", "REVG"]);
    let pem = "-----BEGIN PUBLIC KEY-----\nQUJD\nREVG\n-----END PUBLIC KEY-----\n";
    let world = world();
    let path = world.write("key.pem", pem).display().to_string();
    let one = world.env("KAKITOME_SENDGRID_WEBHOOK_KEY_FILE", &path).load().unwrap();
    assert_eq!(one.sendgrid.webhook_keys, ["QUJDREVG"]);
}

#[test]
fn aws_needs_its_queues_and_its_table_and_they_need_it() {
    let said = world().env("KAKITOME_BACKEND", "aws").env("KAKITOME_DYNAMODB_TABLE", "t").refused();
    for name in ["KAKITOME_SQS_QUEUE_URL", "KAKITOME_SQS_DEAD_LETTER_URL", "KAKITOME_DYNAMODB_TABLE"] {
        assert!(said.contains(name), "{name} in {said}");
    }
    let queue = "https://sqs.eu-central-1.amazonaws.com/1/kakitome";
    let aws = world().env("KAKITOME_BACKEND", "aws").env("KAKITOME_DYNAMODB_TABLE", "kakitome");
    let aws = aws.env("KAKITOME_SQS_QUEUE_URL", queue).env("KAKITOME_QUEUE_VISIBILITY", "1500ms");
    let said = aws.env("KAKITOME_SQS_DEAD_LETTER_URL", queue).refused();
    assert!(said.contains("whole seconds") && said.contains("another queue than sqs.queue_url"), "{said}");
    let said = world().env("KAKITOME_SQS_QUEUE_URL", "https://sqs.example/q").refused();
    assert!(said.contains("KAKITOME_SQS_QUEUE_URL") && said.contains("belongs to backend `aws`"), "{said}");
}

#[test]
fn tenants_with_a_feed_are_named_where_a_feed_is_paid_for() {
    let said = world().env("KAKITOME_FEED_TENANTS", "hotel").refused();
    assert!(said.contains("KAKITOME_FEED_TENANTS") && said.contains("every tenant has a feed"), "{said}");
    let aws = || world_for(keys::find("dynamodb.retention").unwrap());
    let tenants = |text| aws().env("KAKITOME_FEED_TENANTS", text).load().unwrap().callback.tenants;
    assert_eq!(tenants("ryokan, hotel,ryokan"), ["hotel", "ryokan"]);
    assert_eq!(tenants("*"), ["*"]);
    assert!(aws().load().unwrap().callback.tenants.is_empty());
    for wrong in ["*,hotel", "hotel,", "a b"] {
        let said = aws().env("KAKITOME_FEED_TENANTS", wrong).refused();
        assert!(said.contains("names of tenants, separated by commas, or *"), "{wrong}: {said}");
    }
    let longer = aws().env("KAKITOME_FEED_RETENTION", "31d").env("KAKITOME_DYNAMODB_RETENTION", "30d");
    assert!(longer.refused().contains("must not be above dynamodb.retention"));
}

#[test]
fn combinations_that_cannot_work_are_refused() {
    let world = world()
        .env("KAKITOME_WORKER_PROVIDER_TIMEOUT", "40s")
        .env("KAKITOME_WORKER_HOLD", "20s")
        .env("KAKITOME_QUEUE_VISIBILITY", "41s")
        .env("KAKITOME_WORKER_CONCURRENCY_MIN", "65")
        .env("KAKITOME_WORKER_BACKOFF_BASE", "1h")
        .env("KAKITOME_WORKER_CONNECT_TIMEOUT", "50s")
        .env("KAKITOME_LIMITS_BATCH_SIZE", "1MiB");
    insta::assert_snapshot!(world.refused());
}

#[test]
fn what_follows_from_a_bad_value_is_not_told() {
    let said = world()
        .env("KAKITOME_WORKER_PROVIDER_TIMEOUT", "long")
        .env("KAKITOME_LIMITS_BATCH_SIZE", "?")
        .refused();
    assert_eq!(said.lines().count(), 3, "{said}");
}

#[test]
fn a_short_hold_is_allowed_and_warned_of() {
    let settings = world().env("KAKITOME_WORKER_HOLD", "30s").load().unwrap();
    assert!(settings.warnings[0].contains("worker.hold 30s is not above 2m4s"), "{:?}", settings.warnings);
}

#[test]
fn api_key_tables_are_read() {
    let hash = "ab".repeat(32);
    let text = format!(
        "[[api_key]]\nid = 'booking'\nsha256 = '{hash}'\ntenant = 'hotel'\nscopes = ['send', 'read']\n"
    );
    let settings = world().toml(&text).load().unwrap();
    let key = &settings.api_keys[0];
    assert_eq!((key.id.as_str(), key.tenant.as_str(), key.sha256), ("booking", "hotel", [0xab; 32]));
    assert_eq!(key.scopes, [Scope::Send, Scope::Read]);
}

#[test]
fn bad_api_key_tables_are_refused_field_by_field() {
    let hash = "ab".repeat(32);
    let good = format!("[[api_key]]\nid = 'a'\nsha256 = '{hash}'\ntenant = 't'\nscopes = ['send']\n");
    let bad = "[[api_key]]\nid = 'b c'\nsha256 = 'xyz'\nsecret = 'kk_topsecret'\nscopes = ['send', 'fly']\n";
    let said = world().toml(&format!("{good}\n{bad}\n{good}")).refused();
    assert!(!said.contains("topsecret"), "{said}");
    insta::assert_snapshot!(said);
}

#[test]
fn roles_name_what_they_need() {
    let sendgrid = || world().env("KAKITOME_PROVIDER", "sendgrid");
    let said =
        |world: World, roles| world.load().unwrap().check_roles(roles).map_err(|faults| faults.to_string());
    let faults = said(sendgrid(), Roles::ALL).unwrap_err();
    assert!(
        faults.contains("KAKITOME_SENDGRID_API_KEY") && faults.contains("KAKITOME_SENDGRID_WEBHOOK_KEY"),
        "{faults}"
    );
    let api = Roles { api: true, worker: false, webhook: false, console: false };
    said(sendgrid(), api).unwrap();
    let webhook = Roles { webhook: true, api: false, ..api };
    let console = Roles { console: true, api: false, ..api };
    assert!(said(world(), console).unwrap_err().contains("--role api,console"));
    said(world(), Roles { console: true, ..api }).unwrap();
    said(sendgrid().env("KAKITOME_SENDGRID_WEBHOOK_INSECURE", "true"), webhook).unwrap();
    let aws = || world_for(keys::find("sqs.events_url").unwrap());
    assert!(said(aws(), Roles::ALL).unwrap_err().contains("KAKITOME_SQS_EVENTS_URL"));
    said(aws(), api).unwrap();
    said(aws().env("KAKITOME_SQS_EVENTS_URL", "https://sqs.example/1/e"), Roles::ALL).unwrap();
    let open = world().env("KAKITOME_LISTEN", "0.0.0.0:7625");
    assert!(said(open, Roles::ALL).unwrap_err().contains("KAKITOME_API_KEY"));
    let keyed = world().env("KAKITOME_LISTEN", "0.0.0.0:7625").env("KAKITOME_API_KEY", "k");
    said(keyed, Roles::ALL).unwrap();
}
