use super::*;

fn at(s: i64) -> Timestamp {
    Timestamp::from_ms(s * 1000)
}

/// A journal that is empty and forgets.
struct Blank;

#[async_trait::async_trait]
impl Journal for Blank {
    async fn get(&self, _: Kind, _: &str) -> Result<Option<journal::Document>, JournalError> {
        Ok(None)
    }
    async fn put(
        &self,
        _: Kind,
        _: &str,
        _: &str,
        expected: u64,
        _: Option<Timestamp>,
    ) -> Result<journal::Put, JournalError> {
        Ok(journal::Put::Done(expected + 1))
    }
    async fn delete(&self, _: Kind, _: &str) -> Result<(), JournalError> {
        Ok(())
    }
    async fn list(&self, _: Kind, _: Option<&str>, _: usize) -> Result<Vec<journal::Document>, JournalError> {
        Ok(Vec::new())
    }
}

fn meter() -> (Meter, Clock) {
    let clock = Clock::manual(at(1_000_020));
    (Meter::new(Arc::new(Blank), clock.clone(), 10, 100), clock)
}

#[test]
fn the_last_minute_is_counted_in_slots() {
    let mut flow = Flow::default();
    flow.add(5, at(1000));
    flow.add(7, at(1030));
    assert_eq!(flow.per_minute(at(1030)), 12);
    assert_eq!(flow.per_minute(at(1061)), 7);
    assert_eq!(flow.per_minute(at(1095)), 0);
    flow.add(1, at(5000));
    assert_eq!(flow.per_minute(at(5000)), 1);
}

#[test]
fn usual_is_the_rate_of_busy_minutes_a_storm_teaches_little_and_time_fades_it() {
    let learnt = (0..20).fold(0.0, |usual, _| learn(usual, 100, false));
    assert!((99.0..=100.0).contains(&learnt), "{learnt}");
    assert_eq!(learn(learnt, 3, false), learnt, "a quiet minute teaches nothing");
    let stormed = (0..5).fold(10.0, |usual, _| learn(usual, 10_000, true));
    assert!(stormed < 1100.0, "{stormed}");
    let usual = Usual { tenant: "inn".into(), per_minute: 100.0, at: at(0) };
    assert!((usual.faded(at(7 * 24 * 3600)) - 50.0).abs() < 0.001);
}

#[tokio::test]
async fn a_tenant_is_unusual_above_the_floor_and_so_many_times_its_usual_rate_and_told_once() {
    let (meter, clock) = meter();
    meter.count("quiet", 100);
    meter.count("new", 101);
    assert_eq!(meter.unusual(clock.now()), [], "the journal was not read yet");
    meter.learn().await.unwrap_or_else(|error| panic!("{error}"));
    let unusual = Unusual { tenant: "new".into(), per_minute: 101, usual_per_minute: 0 };
    assert_eq!(meter.unusual(clock.now()), std::slice::from_ref(&unusual));
    assert_eq!(meter.newly_unusual(clock.now()), [unusual]);
    assert_eq!(meter.newly_unusual(clock.now()), []);
    clock.advance(Duration::from_secs(120));
    assert_eq!(meter.unusual(clock.now()), []);
    assert_eq!(meter.newly_unusual(clock.now()), []);
    meter.count("new", 200);
    assert_eq!(meter.newly_unusual(clock.now()).len(), 1, "it had calmed down in between");
}

#[tokio::test]
async fn who_always_hands_in_much_is_not_unusual() {
    let (meter, clock) = meter();
    // It grows by a third a minute, from less than the floor.
    let mut rate = 50_u64;
    for _minute in 0..30 {
        meter.count("busy", rate);
        meter.learn().await.unwrap_or_else(|error| panic!("{error}"));
        let unusual = meter.unusual(clock.now());
        assert!(unusual.is_empty(), "{unusual:?}");
        clock.advance(Duration::from_secs(60));
        meter.learn().await.unwrap_or_else(|error| panic!("{error}"));
        rate = (rate * 4 / 3).min(5000);
    }
    meter.count("busy", 60_000);
    assert_eq!(meter.unusual(clock.now()).len(), 1);
}
