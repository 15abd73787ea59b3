//! A real local model that begins unsure: the strong model answers instead, and nothing of the first answer is seen.

use super::world::{PRIVACY, World, backend, chat, post, stream};

/// A route whose local model must be so sure of its first four tokens.
fn route(name: &str, min_mean_logprob: &str) -> String {
    format!(
        "[[routes]]\nname = \"{name}\"\nmodels = [\"{name}\"]\ndefault_privacy = \"standard\"\n\
         targets = [\"local\", \"plain\"]\n[routes.strong]\nbackend = \"plain\"\n\
         confidence = {{ hold_tokens = 4, min_mean_logprob = {min_mean_logprob} }}\n"
    )
}

#[tokio::test]
async fn who_begins_unsure_hands_over_and_who_is_sure_goes_on() {
    let world = World::new().await;
    // No model is as sure as the one, and each is as sure as the other.
    let routes = [route("strict", "-0.000001"), route("lenient", "-1000.0")].concat();
    world.configure(&format!("{}{routes}", world.bedrock("plain", "")));
    let mut server = world.start_with_model(&[]).await;
    let client = server.client();
    let served = async |model: &str, privacy: &str| {
        let headers = [(PRIVACY, privacy)];
        let mut body = chat(model, "the words of");
        body["temperature"] = 0.into();
        let whole = post(&client, &body, &headers).await;
        assert_eq!(whole.status, 200, "{}", whole.text);
        let streamed = stream(&client, &body, &headers).await.expect("a stream");
        let text = whole.json()["choices"][0]["message"]["content"].as_str().expect("a text").to_owned();
        assert_eq!(streamed.choices[&0].0, text, "{model}: nothing of a first answer is seen");
        (backend(&whole).to_owned(), whole.header("x-spillway-route").unwrap_or_default().to_owned())
    };
    let (unsure, reason) = served("strict", "standard").await;
    assert_eq!(unsure, "plain");
    assert!(reason.contains("unsure"), "{reason}");
    assert_eq!(served("lenient", "standard").await.0, "local");
    // However unsure it is, a private answer stays.
    assert_eq!(served("strict", "private").await.0, "local");
    assert_eq!(world.cloud.requests().len(), 2);
    server.terminate();
    server.exited().await;
    let given_up = world.rows().iter().filter(|row| row.backend == "local" && row.route == "strict").count();
    assert_eq!(given_up, 4, "two that were given up, and two that are private");
}
