//! Seeded answers: the same whenever, in whatever company.

use futures::future::join_all;
use serde_json::{Value, json};

use super::requests::{COMPLETIONS, seeded, tiny_server, with};

const SAMPLINGS: [&str; 3] = [
    r#"{"temperature": 1}"#,
    r#"{"temperature": 0.7, "top_p": 0.8, "top_k": 40}"#,
    r#"{"temperature": 1.5, "min_p": 0.02}"#,
];

fn request(sampling: &str, seed: u32) -> Value {
    let sampling = serde_json::from_str(sampling).expect("the samplings are JSON");
    with(with(seeded("The river", 40, seed), json!({"n": 2})), sampling)
}

#[tokio::test]
async fn a_seed_gives_the_same_answer_again_and_another_seed_another() {
    let server = tiny_server(&[]).await;
    for sampling in SAMPLINGS {
        let first = server.post(COMPLETIONS, &request(sampling, 11)).await.texts();
        assert_eq!(server.post(COMPLETIONS, &request(sampling, 11)).await.texts(), first, "{sampling}");
        assert_ne!(server.post(COMPLETIONS, &request(sampling, 12)).await.texts(), first, "{sampling}");
    }
    let unseeded = json!({"prompt": "The river", "max_tokens": 40, "temperature": 1, "ignore_eos": true});
    let (one, other) = (server.post(COMPLETIONS, &unseeded).await, server.post(COMPLETIONS, &unseeded).await);
    assert_ne!(one.texts(), other.texts(), "without a seed, each answer is drawn anew");
}

#[tokio::test]
async fn a_seeded_answer_is_the_same_in_the_company_of_sixteen_others() {
    let server = tiny_server(&["--max-num-batched-tokens", "64", "--max-num-seqs", "64"]).await;
    let mut alone = Vec::new();
    for sampling in SAMPLINGS {
        alone.push(server.post(COMPLETIONS, &request(sampling, 21)).await.texts());
    }
    // A server that never saw these prompts: nothing is in its cache.
    let crowded = tiny_server(&["--max-num-batched-tokens", "64", "--max-num-seqs", "64"]).await;
    let company = (0..16).map(|index| {
        let client = crowded.client();
        let words = "The stone finds the kitchen. ".repeat(1 + index as usize);
        async move { client.post(COMPLETIONS, &seeded(&words, 150, index)).await.expect("an answer").texts() }
    });
    let observed = async {
        let mut texts = Vec::new();
        crowded.until_metric("vllm:num_requests_running", "", 16.0).await;
        for sampling in SAMPLINGS {
            texts.push(crowded.post(COMPLETIONS, &request(sampling, 21)).await.texts());
        }
        texts
    };
    let (_, together) = futures::join!(join_all(company), observed);
    assert_eq!(together, alone);
}
