#![expect(clippy::unwrap_used, reason = "a test ends at the first surprise")]

use std::time::Duration;

use proptest::prelude::*;

use super::*;

fn duration() -> impl Strategy<Value = Duration> {
    (0..=86_400_000_u64).prop_map(Duration::from_millis)
}

fn kind() -> impl Strategy<Value = Kind> {
    let mode = prop::sample::select(vec![OutageMode::Answers503, OutageMode::Refuse, OutageMode::Timeout]);
    let how = prop::sample::select(vec![BounceType::Bounce, BounceType::Blocked, BounceType::Dropped]);
    let plain = vec![
        Kind::ResetBefore,
        Kind::ResetAfterAccept,
        Kind::Defer,
        Kind::WebhookDuplicate,
        Kind::WebhookReorder,
        Kind::WebhookDrop,
    ];
    prop_oneof![
        prop::option::of(500..=599_u16).prop_map(|status| Kind::ServerError { status }),
        (400..=428_u16).prop_map(|status| Kind::Refused { status }),
        prop::option::of(0..=86_400_u32)
            .prop_map(|retry_after_seconds| Kind::TooManyRequests { retry_after_seconds }),
        duration().prop_map(|by| Kind::Slow { by }),
        duration().prop_map(|hold| Kind::TimeoutAfterAccept { hold }),
        duration().prop_map(|by| Kind::WebhookDelay { by }),
        (duration(), prop::option::of(duration()), mode).prop_map(|(after, length, mode)| Kind::Outage {
            after,
            length,
            mode
        }),
        (how, "[245]\\.[0-9]{1,3}\\.[0-9]{1,3}").prop_map(|(how, status)| Kind::Bounce { how, status }),
        prop::sample::select(plain),
    ]
}

fn fault() -> impl Strategy<Value = Fault> {
    (kind(), 0..=1_000_000_u32, prop::option::of(any::<u64>())).prop_map(|(kind, rate, first)| match kind {
        Kind::Outage { .. } => Fault { kind, rate: Rate::ALWAYS, first: None },
        kind => Fault { kind, rate: Rate(rate), first },
    })
}

fn plan() -> impl Strategy<Value = Plan> {
    (prop::option::of(any::<u64>()), prop::collection::vec(fault(), 0..6))
        .prop_map(|(seed, faults)| Plan { seed, faults })
}

proptest! {
    #[test]
    fn a_plan_survives_being_written_as_text(plan in plan()) {
        prop_assert_eq!(plan.to_string().parse::<Plan>(), Ok(plan));
    }

    #[test]
    fn a_plan_survives_being_written_as_json(plan in plan()) {
        prop_assert_eq!(serde_json::to_string(&plan).unwrap().parse::<Plan>(), Ok(plan));
    }

    #[test]
    fn any_text_is_a_plan_or_an_error(text in ".{0,60}") {
        drop(text.parse::<Plan>());
    }
}

#[test]
fn short_and_long_forms_mean_the_same() {
    let same =
        |a: &str, b: &str| assert_eq!(a.parse::<Plan>().unwrap(), b.parse::<Plan>().unwrap(), "{a} / {b}");
    same("webhook-delay=30s", "webhook-delay:for=30s");
    same("5xx=0.1", "5xx=10%");
    same("5xx", "5xx=100%");
    same("slow=20%:for=3s", "slow=20%:for=3000ms");
    same("5xx=1%, 429\n# a comment\nseed=3", "seed=3,5xx=1%,429");
    same("", "none");
    let json =
        r#"{"seed":3,"faults":[{"kind":"429","rate":0.05,"retry_after":2},{"kind":"outage","after":"1m"}]}"#;
    same(json, "seed=3,429=5%:retry-after=2,outage:after=60s");
}

#[test]
fn errors_name_the_bad_part() {
    for (text, error) in [
        (
            "5xx=10%,6xx=1%",
            "faults: in `6xx=1%`: `6xx` is no fault; there are 5xx, 4xx, 429, slow, reset-before, \
          reset-after-accept, timeout-after-accept, outage, bounce, defer, webhook-duplicate, webhook-reorder, \
          webhook-drop, webhook-delay",
        ),
        (
            "5xx=110%",
            "faults: in `5xx=110%`: `rate=110%`: rate is a percentage such as 10% or a fraction such as 0.1",
        ),
        ("429:retry=2", "faults: in `429:retry=2`: 429 has no setting `retry`"),
        ("slow:for", "faults: in `slow:for`: `for` is not of the form SETTING=VALUE"),
        (
            "slow:for=3d",
            "faults: in `slow:for=3d`: `for=3d`: for is a duration such as 500ms, 3s or 2m, at most 24h",
        ),
        ("slow=3s:for=4s", "faults: in `slow=3s:for=4s`: `for` is given twice"),
        ("outage=10%", "faults: in `outage=10%`: outage has no setting `rate`"),
        ("5xx:status=404", "faults: in `5xx:status=404`: `status=404`: status is 500 to 599"),
        ("4xx:status=429", "faults: in `4xx:status=429`: `status=429`: status is 400 to 499 but 429"),
        ("seed=x", "faults: in `seed=x`: seed is a whole number"),
        (r#"{"faults":[{"rate":1}]}"#, "faults: in `{\"rate\":1}`: `kind` is missing or not a string"),
    ] {
        assert_eq!(text.parse::<Plan>().unwrap_err().to_string(), error);
    }
    assert!(r#"{"fault":[]}"#.parse::<Plan>().unwrap_err().to_string().contains("unknown field `fault`"));
}

fn script(text: &str) -> Script {
    Script::new(text.parse().unwrap(), 7)
}

fn verdicts(script: &Script, count: u64) -> Vec<Verdict> {
    (0..count).map(|number| script.turn(number, Duration::ZERO).verdict).collect()
}

#[test]
fn the_same_seed_plays_the_same_faults_and_another_seed_others() {
    let plan = "5xx=10%,429=10%,reset-after-accept=10%";
    let one = verdicts(&script(plan), 500);
    assert_eq!(one, verdicts(&script(plan), 500));
    assert_ne!(one, verdicts(&script(&format!("{plan},seed=8")), 500));
}

#[test]
fn a_rate_is_met_and_faults_are_drawn_apart() {
    let verdicts = verdicts(&script("5xx=10%:status=500,429=10%"), 20_000);
    let count = |wanted| verdicts.iter().filter(|verdict| **verdict == wanted).count();
    assert!((1800..2200).contains(&count(Verdict::TooManyRequests(None))));
    // A tenth of these is struck by both, and then 429 comes first.
    assert!((1600..2000).contains(&count(Verdict::ServerError(500))));
}

#[test]
fn first_limits_a_fault_to_the_first_requests() {
    let script = script("5xx:first=2:status=503");
    let played = verdicts(&script, 4);
    assert_eq!(
        played,
        [Verdict::ServerError(503), Verdict::ServerError(503), Verdict::Accept, Verdict::Accept]
    );
}

#[test]
fn an_outage_begins_and_ends() {
    let script = script("outage:after=10s:for=30s");
    let at = |seconds| script.turn(0, Duration::from_secs(seconds)).verdict;
    assert_eq!(at(9), Verdict::Accept);
    assert_eq!((at(10), at(39)), (Verdict::ServerError(503), Verdict::ServerError(503)));
    assert_eq!(at(40), Verdict::Accept);
}
