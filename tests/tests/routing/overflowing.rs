//! A burst that would miss the goal: some of it overflows, nothing private does, and what overflowed is paid for.

use futures::future::join_all;
use spillway_tests::demo_model;

use super::world::{PRIVACY, World, backend, chat, post};

const MARKER: &str = "zebra-kettle-0419";
/// Requests of the burst, and how many of them are private.
const NUM_REQUESTS: usize = 48;
const NUM_PRIVATE: usize = 6;

#[tokio::test]
async fn a_burst_overflows_as_far_as_it_must_and_nothing_private_does() {
    let model = demo_model();
    let world = World::new().await;
    let route = r#"
[[routes]]
name = "chat"
models = ["chat"]
default_privacy = "standard"
targets = ["local", "plain"]
overflow = ["plain"]
slo_ttft = "60s"

[router]
initial_remote_ttft = "100ms"
"#;
    world.configure(&format!("{}{route}", world.bedrock("plain", "")));
    let mut server = world.start_on(&model, &["--kv-cache-memory", "512MiB"]).await;
    let client = server.client();
    let words = "The clerk wrote down what the river had carried past the mill that day. ".repeat(20);
    // Rates are measured on prompts that had to wait. The goal is what twice as many take on this machine.
    let began = tokio::time::Instant::now();
    join_all((0..4).map(|number| {
        let body = chat("chat", &format!("{number}, privately: {words}"));
        let client = client.clone();
        async move { post(&client, &body, &[(PRIVACY, "private")]).await }
    }))
    .await;
    let goal = (began.elapsed() * 2).as_millis().to_string();
    let replies = join_all((0..NUM_REQUESTS).map(|number| {
        // The last ones, so that they take no place before the goal from the others.
        let is_private = number >= NUM_REQUESTS - NUM_PRIVATE;
        let secret = if is_private { MARKER } else { "nothing" };
        let body = chat("chat", &format!("{number} {secret}: {words}"));
        let (client, goal) = (client.clone(), goal.as_str());
        async move {
            let privacy = if is_private { "private" } else { "standard" };
            let headers = [(PRIVACY, privacy), ("x-spillway-slo-ttft-ms", goal)];
            (is_private, post(&client, &body, &headers).await)
        }
    }))
    .await;
    let mut num_out = 0;
    let mut num_here = 0;
    for (is_private, reply) in &replies {
        assert_eq!(reply.status, 200, "{}", reply.text);
        match backend(reply) {
            "plain" => {
                assert!(!is_private);
                let route = reply.header("x-spillway-route").unwrap_or_default();
                assert!(route.starts_with("overflow;") || route.starts_with("late-overflow;"), "{route}");
                num_out += 1;
            }
            other => {
                assert_eq!(other, "local");
                num_here += usize::from(!is_private);
            }
        }
    }
    assert!(
        num_out > 0 && num_here > 0,
        "{num_out} overflowed, {num_here} of the standard ones were served here"
    );
    assert!(!world.cloud.has_seen(MARKER));
    server.terminate();
    server.exited().await;
    let paid: Vec<_> = world.rows().into_iter().filter(|row| row.backend == "plain").collect();
    assert!(paid.len() >= num_out);
    assert!(paid.iter().all(|row| row.privacy == "standard" && row.charged.nanos() > 0), "{paid:?}");
}
