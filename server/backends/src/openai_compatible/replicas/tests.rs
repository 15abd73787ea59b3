//! Choices among replicas, on a paused clock.

use super::*;

fn replicas(count: usize) -> Arc<Replicas> {
    let url = |index| ReplicaUrl::parse(&format!("http://replica-{index}:8000")).expect("an address");
    Arc::new(Replicas::new((0..count).map(url).collect(), Duration::from_secs(6)))
}

/// A prompt of its own for each number.
fn key(number: u32) -> PrefixKey {
    let sampling =
        spillway_types::SamplingParams::new(spillway_types::Sampling::Greedy, spillway_types::Seed(0));
    PrefixKey::of(&spillway_types::GenerateRequest {
        request_id: spillway_types::RequestId(1),
        model: spillway_types::ModelId::new("m"),
        prompt: spillway_types::Prompt::Text(format!("prompt {number}")),
        truncation: None,
        params: sampling,
        format: spillway_types::OutputFormat::Text,
        reasoning_effort: None,
        priority: spillway_types::Priority::Normal,
        cache_salt: None,
    })
}

fn chosen(replicas: &Arc<Replicas>, number: u32) -> usize {
    replicas.choose(|| key(number)).index
}

fn report(num_running: u32, num_waiting: u32, at: Duration) -> Report {
    Report { num_running, num_waiting, num_others: num_running + num_waiting, kv_cache_usage: Some(0.5), at }
}

#[tokio::test(start_paused = true)]
async fn a_prompt_stays_with_its_favourite_and_prompts_are_spread() {
    let four = replicas(4);
    let mut counts = [0_u32; 4];
    for number in 0..400 {
        let first = chosen(&four, number);
        assert!((0..5).all(|_| chosen(&four, number) == first), "prompt {number} moved");
        counts[first] += 1;
    }
    assert!(counts.iter().all(|count| (60..=140).contains(count)), "{counts:?}");
}

#[tokio::test(start_paused = true)]
async fn most_prompts_stay_when_a_replica_goes() {
    let (four, three) = (replicas(4), replicas(3));
    for number in 0..200 {
        let before = chosen(&four, number);
        assert!(before == 3 || chosen(&three, number) == before, "prompt {number} moved");
    }
}

#[tokio::test(start_paused = true)]
async fn overload_breaks_affinity() {
    let four = replicas(4);
    let mut held = Vec::new();
    for _ in 0..400 {
        held.push(four.choose(|| key(7)));
    }
    let loads: Vec<u32> = four.iter().map(|replica| replica.state.num_in_flight()).collect();
    assert!(
        loads.iter().all(|load| (70..=140).contains(load)),
        "one prompt alone must not fill one replica: {loads:?}"
    );
    drop(held);
    assert_eq!(four.load().num_running, 0, "nothing is under way any more");
}

#[tokio::test(start_paused = true)]
async fn what_others_have_there_counts_until_it_is_too_old() {
    let two = replicas(2);
    let favourite = chosen(&two, 1);
    two.all[favourite].state.reported(report(40, 10, two.now()));
    assert_ne!(chosen(&two, 1), favourite);
    assert_eq!((two.load().num_running, two.load().num_waiting), (40, 10));
    tokio::time::advance(Duration::from_secs(7)).await;
    assert_eq!(chosen(&two, 1), favourite);
    assert_eq!(two.load(), BackendLoad::default(), "nothing is known any more");
}

#[tokio::test(start_paused = true)]
async fn a_replica_that_fails_is_left_alone_for_a_moment() {
    let two = replicas(2);
    let favourite = chosen(&two, 1);
    let fail = |class| two.choose(|| key(1)).failed(&Fault::new(class, "x", "x"));
    fail(ErrorClass::InvalidRequest);
    fail(ErrorClass::Internal);
    fail(ErrorClass::Internal);
    assert_eq!(chosen(&two, 1), favourite, "two failures may be chance");
    fail(ErrorClass::Internal);
    assert_ne!(chosen(&two, 1), favourite);
    tokio::time::advance(Duration::from_millis(1001)).await;
    assert_eq!(chosen(&two, 1), favourite);
    // It has not answered well since: the next failure lasts longer.
    fail(ErrorClass::Connect);
    tokio::time::advance(Duration::from_secs(4)).await;
    assert_ne!(chosen(&two, 1), favourite);
    assert_eq!(two.health(), BackendHealth::Ready, "the other one serves");
}

#[tokio::test(start_paused = true)]
async fn a_busy_replica_is_passed_over_but_not_unreachable() {
    let two = replicas(2);
    let favourite = chosen(&two, 1);
    let fault =
        Fault { retry_after: Some(Duration::from_secs(9)), ..Fault::new(ErrorClass::Throttled, "x", "x") };
    two.choose(|| key(1)).failed(&fault);
    assert_ne!(chosen(&two, 1), favourite);
    two.choose(|| key(1)).failed(&fault);
    assert_eq!(two.health(), BackendHealth::Ready);
    assert_eq!(chosen(&two, 1), favourite, "both are busy");
    tokio::time::advance(Duration::from_secs(10)).await;
    assert_eq!(chosen(&two, 1), favourite);
}

#[tokio::test(start_paused = true)]
async fn a_backend_is_unreachable_when_all_its_replicas_are() {
    let two = replicas(2);
    for replica in two.iter() {
        assert!(replica.state.looked_at(ReplicaHealth::Down), "it was not down before");
    }
    let BackendHealth::Unreachable { reason } = two.health() else { panic!("{:?}", two.health()) };
    assert_eq!(&*reason, "none of its 2 replicas can be reached");
    two.all[1].state.looked_at(ReplicaHealth::Up);
    assert_eq!(two.health(), BackendHealth::Ready);
    assert!((0..20).all(|number| chosen(&two, number) == 1));
}
