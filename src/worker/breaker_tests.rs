use proptest::prelude::*;

use super::*;

const OK: Heard = Ok(());
const ILL: Heard = Err(SendErrorClass::Unknown);

fn at(ms: u64) -> Duration {
    Duration::from_millis(ms)
}

fn opened() -> Breaker {
    let mut breaker = Breaker::new(Config::default());
    (0..5).for_each(|_| breaker.hear(ILL, at(0), 0.5));
    breaker
}

#[test]
fn five_failures_in_a_row_open_it_and_fewer_do_not() {
    let mut breaker = Breaker::new(Config::default());
    for _ in 0..10 {
        (0..4).for_each(|_| breaker.hear(ILL, at(0), 0.5));
        (0..10).for_each(|_| breaker.hear(OK, at(0), 0.5));
    }
    assert_eq!(breaker.gate(at(0)), Gate::Open);
    (0..5).for_each(|_| breaker.hear(ILL, at(0), 0.5));
    assert_eq!(breaker.gate(at(0)), Gate::Shut { until: at(15_000) });
}

#[test]
fn half_of_twenty_calls_in_the_window_open_it_and_older_ones_do_not_count() {
    let mut breaker = Breaker::new(Config::default());
    for second in 0..9 {
        breaker.hear(OK, at(second * 1000), 0.5);
        breaker.hear(ILL, at(second * 1000), 0.5);
    }
    assert_eq!(breaker.gate(at(9_000)), Gate::Open);
    breaker.hear(OK, at(60_000), 0.5);
    breaker.hear(ILL, at(60_000), 0.5);
    assert_eq!(breaker.gate(at(60_000)), Gate::Open);
    for _ in 0..9 {
        breaker.hear(OK, at(61_000), 0.5);
        breaker.hear(ILL, at(61_000), 0.5);
    }
    assert!(matches!(breaker.gate(at(61_000)), Gate::Shut { .. }));
}

#[test]
fn it_probes_with_one_then_five_then_twice_as_many_until_it_is_closed() {
    let mut breaker = opened();
    let mut seen = Vec::new();
    while let Gate::Probing(at_once) = breaker.gate(at(20_000)) {
        seen.push(at_once);
        (0..at_once).for_each(|_| breaker.hear(OK, at(20_000), 0.5));
    }
    assert_eq!(seen, [1, 5, 10, 20, 40]);
    assert_eq!(breaker.gate(at(20_000)), Gate::Open);
}

#[test]
fn a_failed_probe_opens_it_for_twice_as_long_up_to_the_longest() {
    let mut breaker = opened();
    let mut now = at(0);
    let mut spans = Vec::new();
    for _ in 0..7 {
        let Gate::Shut { until } = breaker.gate(now) else {
            break;
        };
        spans.push((until - now).as_secs());
        now = until;
        assert_eq!(breaker.gate(now), Gate::Probing(1));
        breaker.hear(ILL, now, 0.5);
    }
    assert_eq!(spans, [15, 30, 60, 120, 240, 300, 300]);
}

#[test]
fn a_refusal_of_us_shuts_it_at_once_and_a_refusal_of_a_message_does_not() {
    let mut breaker = Breaker::new(Config::default());
    (0..100).for_each(|_| breaker.hear(Err(SendErrorClass::Refused), at(0), 0.5));
    assert_eq!(breaker.gate(at(0)), Gate::Open);
    breaker.hear(Err(SendErrorClass::ProviderRefused), at(0), 0.5);
    assert!(breaker.is_refused());
    assert_eq!(breaker.gate(at(60_000)), Gate::Probing(1));
}

proptest! {
    #[test]
    fn whatever_it_hears_it_opens_again_within_the_longest_wait_and_closes_when_all_is_well(
        heard in prop::collection::vec((0_usize..6, 0_u64..20_000, 0.0_f64..1.0), 0..200),
    ) {
        let classes = [
            OK, ILL, Err(SendErrorClass::NotAccepted), Err(SendErrorClass::Throttled),
            Err(SendErrorClass::Refused), Err(SendErrorClass::ProviderRefused),
        ];
        let mut breaker = Breaker::new(Config::default());
        let mut now = at(0);
        for (class, step, randomness) in heard {
            now += at(step);
            breaker.gate(now);
            breaker.hear(classes[class], now, randomness);
        }
        if let Gate::Shut { until } = breaker.gate(now) {
            prop_assert!(until <= now + Duration::from_secs(360));
            now = until;
        }
        for _ in 0..200 {
            breaker.gate(now);
            breaker.hear(OK, now, 0.5);
        }
        prop_assert_eq!(breaker.gate(now), Gate::Open);
    }
}
