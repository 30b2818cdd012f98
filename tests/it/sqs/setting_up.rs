//! Making the queues, and saying what is wrong with them.

use aws_sdk_sqs::types::QueueAttributeName as Name;
use kakitome::aws::{Done, Finding, Step};
use kakitome::queue::sqs::check::{Action, check};
use kakitome::queue::sqs::setup::{Queues, setup};

use super::scripted::{self, refusal};
use super::{Bench, aws, fresh_queues};

fn done(steps: &[Step]) -> Vec<Done> {
    steps.iter().map(|step| step.done).collect()
}

fn wrong(findings: &[Finding]) -> Vec<String> {
    findings
        .iter()
        .filter(|finding| !finding.ok)
        .map(|finding| format!("{}: {}", finding.name, finding.detail))
        .collect()
}

async fn set(bench: &Bench, url: &str, name: Name, value: &str) {
    let call = bench.aws.sqs.set_queue_attributes().queue_url(url).attributes(name, value);
    call.send().await.unwrap();
}

async fn attribute(bench: &Bench, url: &str, name: Name) -> String {
    let call = bench.aws.sqs.get_queue_attributes().queue_url(url).attribute_names(Name::All);
    call.send().await.unwrap().attributes.unwrap()[&name].clone()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn setup_makes_what_is_missing_and_a_second_time_changes_nothing() {
    let aws = aws().await;
    let mut queues = fresh_queues();
    queues.events_url = Some(queues.queue_url.replace("/mail-", "/events-"));
    let made = setup(&aws, &queues).await.unwrap();
    assert_eq!(done(&made), [Done::Created; 3]);
    assert!(made[1].detail.ends_with(&queues.queue_url), "{}", made[1].detail);
    assert_eq!(done(&setup(&aws, &queues).await.unwrap()), [Done::Unchanged; 3]);
    assert_eq!(wrong(&check(&aws, &queues, Action::WORKER).await), [] as [String; 0]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn setup_puts_right_what_differs_and_never_lowers_how_long_messages_are_kept() {
    let bench = Bench::fresh().await;
    let (queue, dead) = (&bench.queues.queue_url, &bench.queues.dead_letter_url);
    set(&bench, queue, Name::MessageRetentionPeriod, "1000000").await;
    set(&bench, queue, Name::VisibilityTimeout, "1").await;
    set(&bench, queue, Name::MaximumMessageSize, "1024").await;
    set(&bench, dead, Name::MessageRetentionPeriod, "60").await;
    let queues = Queues { max_receive_count: 7, ..bench.queues.clone() };
    let found = wrong(&check(&bench.aws, &queues, &[]).await);
    assert_eq!(
        found,
        [
            "queue: messages are dead letters after 100 receives, not 7",
            "queue: keeps messages for 1000000 s, its dead-letter queue for 60 s",
            "queue: its visibility time-out is 1 s, less than the configured 30 s",
        ]
    );
    let steps = setup(&bench.aws, &queues).await.unwrap();
    assert_eq!(done(&steps), [Done::Changed, Done::Changed]);
    assert_eq!(
        steps[1].detail,
        "changed MaximumMessageSize, RedrivePolicy, VisibilityTimeout; keeps messages longer than asked, \
         1000000 s: left so"
    );
    assert_eq!(attribute(&bench, queue, Name::MessageRetentionPeriod).await, "1000000");
    assert_eq!(attribute(&bench, queue, Name::MaximumMessageSize).await, "1048576");
    assert_eq!(attribute(&bench, dead, Name::MessageRetentionPeriod).await, "1209600");
    assert_eq!(done(&setup(&bench.aws, &queues).await.unwrap()), [Done::Unchanged; 2]);
    assert_eq!(wrong(&check(&bench.aws, &queues, &[]).await), [] as [String; 0]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn check_sees_dead_letters_that_go_elsewhere_and_queues_that_are_not_there() {
    let (bench, other) = (Bench::fresh().await, Bench::fresh().await);
    let queues = Queues { dead_letter_url: other.queues.dead_letter_url.clone(), ..bench.queues.clone() };
    let findings = check(&bench.aws, &queues, &[]).await;
    let found = wrong(&findings);
    assert_eq!(found.len(), 1);
    assert!(found[0].starts_with("queue: its dead letters go to arn:"), "{found:?}");

    let findings = check(&bench.aws, &fresh_queues(), Action::WORKER).await;
    let remedies: Vec<_> = findings.iter().filter_map(|finding| finding.remedy.as_deref()).collect();
    assert_eq!(remedies, ["correct the URL (account, region, name), or make it with `kakitome setup`"; 2]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn check_leaves_the_queue_as_it_was() {
    let bench = Bench::fresh().await;
    bench.put(&["{}"]).await;
    let found = wrong(&check(&bench.aws, &bench.queues, Action::WORKER).await);
    assert_eq!(found, [] as [String; 0]);
    let lying = bench.look(&bench.queues.queue_url).await;
    assert_eq!(lying.len(), 1);
    assert_eq!(lying[0].attributes.as_ref().unwrap()[&"ApproximateReceiveCount".into()], "1");
    assert!(bench.look(&bench.queues.dead_letter_url).await.is_empty());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn check_names_a_missing_permission_by_its_action() {
    for (denied, named) in [
        ("SendMessage", "sqs:SendMessage"),
        ("ReceiveMessage", "sqs:ReceiveMessage"),
        ("DeleteMessage", "sqs:DeleteMessage"),
        ("ChangeMessageVisibility", "sqs:ChangeMessageVisibility"),
        ("GetQueueAttributes", "sqs:GetQueueAttributes"),
    ] {
        let (bench, _) = scripted::start(move |action, _, _| match action {
            action if action == denied => refusal("AccessDeniedException"),
            "GetQueueAttributes" => refusal("OverLimit"),
            _ => refusal("InvalidParameterValue"),
        })
        .await;
        let findings = check(&bench.aws, &bench.queues, Action::WORKER).await;
        let remedies: Vec<_> = findings.iter().filter_map(|finding| finding.remedy.as_deref()).collect();
        let allow = format!("allow {named} on {}", bench.queues.queue_url);
        assert!(remedies.contains(&allow.as_str()), "{denied}: {remedies:?}");
        let others = remedies.iter().filter(|remedy| remedy.starts_with("allow") && !remedy.contains(named));
        assert_eq!(others.count(), 0, "{denied}: {remedies:?}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn check_tries_what_the_webhook_needs_on_the_events_queue() {
    for denied in ["SendMessage", "ReceiveMessage", "DeleteMessage", "ChangeMessageVisibility"] {
        let (bench, _) = scripted::start(move |action, body, _| {
            let is_of_events = body["QueueUrl"].as_str().is_some_and(|url| url.ends_with("-events"));
            match action {
                action if action == denied && is_of_events => refusal("AccessDeniedException"),
                "GetQueueAttributes" => refusal("OverLimit"),
                _ => refusal("InvalidParameterValue"),
            }
        })
        .await;
        let events_url = format!("{}-events", bench.queues.queue_url);
        let queues = Queues { events_url: Some(events_url.clone()), ..bench.queues.clone() };
        let findings = check(&bench.aws, &queues, Action::WORKER).await;
        let named = format!("sqs:{denied} on the events queue");
        let finding = findings.iter().find(|finding| finding.name == named).unwrap();
        let remedy = format!("allow sqs:{denied} on {events_url}");
        assert_eq!((finding.ok, finding.remedy.as_deref()), (false, Some(remedy.as_str())));
        let remedies: Vec<_> = findings.iter().filter_map(|finding| finding.remedy.as_deref()).collect();
        let allowed = remedies.iter().filter(|remedy| remedy.starts_with("allow"));
        assert_eq!(allowed.count(), 1, "{remedies:?}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn check_leaves_the_events_as_they_were() {
    let bench = Bench::fresh().await;
    bench.put(&["{}"]).await;
    // The queue with a message in it stands for the events queue.
    let elsewhere = Bench::fresh().await;
    let events_url = Some(bench.queues.queue_url.clone());
    let queues = Queues { events_url, ..elsewhere.queues.clone() };
    assert_eq!(wrong(&check(&elsewhere.aws, &queues, Action::WORKER).await), [] as [String; 0]);
    let lying = bench.look(&bench.queues.queue_url).await;
    assert_eq!(lying.len(), 1);
    assert_eq!(lying[0].attributes.as_ref().unwrap()[&"ApproximateReceiveCount".into()], "1");
}
