//! Answers: whole and streamed, one and many, and what they cost.

use serde_json::{Value, json};
use spillway_tests::Streamed;

use super::requests::{CHAT, COMPLETIONS, LONG_PROMPT, greedy, seeded, tiny_server, with};

#[tokio::test]
async fn a_stream_brings_the_text_of_the_whole_answer() {
    let server = tiny_server(&[]).await;
    let chat = |n| {
        json!({"messages": [{"role": "system", "content": "Be brief."}, {"role": "user", "content": "The river?"}],
               "max_tokens": 60, "seed": 5, "n": n})
    };
    let requests = [
        (COMPLETIONS, greedy("The river", 100)),
        (COMPLETIONS, with(seeded("The river", 80, 1), json!({"n": 3}))),
        (COMPLETIONS, with(seeded("", 40, 2), json!({"prompt": ["a", "The stone", LONG_PROMPT], "n": 2}))),
        (CHAT, chat(1)),
        (CHAT, chat(4)),
    ];
    for (path, request) in requests {
        let whole = server.post(path, &request).await;
        let streamed = server.stream(path, &request).await;
        assert_eq!(streamed.texts(), whole.texts(), "{request}");
        let wanted: Vec<Option<String>> = whole.json()["choices"]
            .as_array()
            .expect("a list")
            .iter()
            .map(|choice| choice["finish_reason"].as_str().map(str::to_owned))
            .collect();
        let reasons: Vec<Option<String>> =
            streamed.choices.values().map(|(_, reason)| reason.clone()).collect();
        assert_eq!(reasons, wanted, "{request}");
        let usage = streamed.usage.clone().expect("it was asked for");
        for count in ["prompt_tokens", "completion_tokens", "total_tokens"] {
            assert_eq!(usage[count], whole.json()["usage"][count], "{count} of {request}");
        }
        check_chunks(path, &streamed);
    }
}

/// What every chunk of a stream must have.
fn check_chunks(path: &str, streamed: &Streamed) {
    let object = if path == CHAT { "chat.completion.chunk" } else { "text_completion" };
    let id = &streamed.chunks[0]["id"];
    for (chunk, index) in streamed.chunks.iter().zip(1..) {
        assert_eq!((&chunk["id"], &chunk["object"], &chunk["model"]), (id, &json!(object), &json!("tied")));
        let is_last = index == streamed.chunks.len();
        assert_eq!(chunk["usage"].is_null(), !is_last, "usage in the last chunk only: {chunk}");
        assert_eq!(chunk["choices"].as_array().map(Vec::len), Some(usize::from(!is_last)), "{chunk}");
    }
    if path == CHAT {
        for index in streamed.choices.keys() {
            let mut of_choice = streamed.chunks.iter().filter(|chunk| chunk["choices"][0]["index"] == *index);
            let first = of_choice.next().expect("every choice has chunks");
            assert_eq!(first["choices"][0]["delta"]["role"], "assistant");
            assert!(of_choice.all(|chunk| chunk["choices"][0]["delta"].get("role").is_none()));
        }
    }
}

#[tokio::test]
async fn a_stream_has_no_usage_unless_asked() {
    let server = tiny_server(&[]).await;
    for options in
        [json!({}), json!({"stream_options": {}}), json!({"stream_options": {"include_usage": false}})]
    {
        let request = with(with(greedy("a", 3), json!({"stream": true})), options);
        let streamed = server.open(COMPLETIONS, &request).await.collect().await.expect("a whole stream");
        assert_eq!(streamed.usage, None);
        assert!(streamed.chunks.iter().all(|chunk| chunk.get("usage").is_none()), "{streamed:?}");
    }
}

#[tokio::test]
async fn usage_counts_every_token_once() {
    let server = tiny_server(&[]).await;
    let count = server.post("/tokenize", &json!({"prompt": LONG_PROMPT})).await.json()["count"].as_u64();
    let count = count.expect("a number");
    let reply = server.post(COMPLETIONS, &with(seeded(LONG_PROMPT, 7, 3), json!({"n": 3}))).await;
    let usage = |name: &str| reply.usage(name);
    assert_eq!(
        (usage("/prompt_tokens"), usage("/completion_tokens")),
        (count, 21),
        "a prompt counts once for all `n`"
    );
    assert_eq!(usage("/total_tokens"), count + 21);

    let prompts = json!({"prompt": [LONG_PROMPT, "a"]});
    let reply = server.post(COMPLETIONS, &with(greedy("", 2), prompts)).await;
    assert_eq!((reply.usage("/prompt_tokens"), reply.usage("/completion_tokens")), (count + 1, 4));
}

#[tokio::test]
async fn a_repeated_prompt_is_found_in_the_cache_under_its_salt_only() {
    let server = tiny_server(&[]).await;
    let count = server.post("/tokenize", &json!({"prompt": LONG_PROMPT})).await.json()["count"].as_u64();
    // At least the last token is always computed.
    let whole_blocks = count.map(|count| (count - 1) / 16 * 16).expect("a number");
    assert!(whole_blocks >= 32);
    let request = greedy(LONG_PROMPT, 20);
    let mut texts = Vec::new();
    for (salt, cached) in
        [(None, 0), (None, whole_blocks), (Some("ann"), 0), (Some("ann"), whole_blocks), (Some("bob"), 0)]
    {
        let request = salt.map_or(request.clone(), |salt| with(request.clone(), json!({"cache_salt": salt})));
        let reply = server.post(COMPLETIONS, &request).await;
        assert_eq!(reply.usage("/prompt_tokens_details/cached_tokens"), cached, "salt {salt:?}");
        texts.push(reply.texts());
    }
    assert!(texts.iter().all(|text| *text == texts[0]), "{texts:?}");
    let streamed = server.stream(COMPLETIONS, &request).await;
    let usage = streamed.usage.expect("it was asked for");
    assert_eq!(usage["prompt_tokens_details"]["cached_tokens"], whole_blocks);

    let uncached = tiny_server(&["--enable-prefix-caching=false"]).await;
    for _ in 0..2 {
        let reply = uncached.post(COMPLETIONS, &request).await;
        assert_eq!(reply.usage("/prompt_tokens_details/cached_tokens"), 0);
        assert_eq!(reply.texts(), texts[0]);
    }
}

#[tokio::test]
async fn choices_come_in_the_order_of_their_prompts() {
    let server = tiny_server(&[]).await;
    let prompts = ["The river", "a", LONG_PROMPT];
    let together =
        server.post(COMPLETIONS, &with(seeded("", 20, 9), json!({"prompt": prompts, "n": 2}))).await;
    let mut apart = Vec::new();
    for prompt in prompts {
        apart.extend(server.post(COMPLETIONS, &with(seeded(prompt, 20, 9), json!({"n": 2}))).await.texts());
    }
    assert_eq!(together.texts(), apart);
    let indices: Vec<Value> = (0..6).map(Value::from).collect();
    let found: Vec<Value> = together.json()["choices"]
        .as_array()
        .expect("a list")
        .iter()
        .map(|choice| choice["index"].clone())
        .collect();
    assert_eq!(found, indices);
    // The choices of one prompt are drawn apart from each other.
    assert_ne!(apart[0], apart[1]);
}

#[tokio::test]
async fn token_ids_are_a_prompt_like_their_text() {
    let server = tiny_server(&[]).await;
    let ids = server.post("/tokenize", &json!({"prompt": LONG_PROMPT})).await.json()["tokens"].clone();
    let by_text = server.post(COMPLETIONS, &greedy(LONG_PROMPT, 30)).await;
    let by_ids = server.post(COMPLETIONS, &with(greedy("", 30), json!({"prompt": ids}))).await;
    assert_eq!(by_ids.texts(), by_text.texts());
    assert_eq!(by_ids.usage("/prompt_tokens"), by_text.usage("/prompt_tokens"));
    let lists = server.post(COMPLETIONS, &with(greedy("", 30), json!({"prompt": [ids, [68]]}))).await;
    assert_eq!(lists.texts()[0], by_text.texts()[0]);
    assert_eq!(lists.texts()[1], server.post(COMPLETIONS, &greedy("a", 30)).await.texts()[0]);
}

#[tokio::test]
async fn an_answer_ends_at_its_limits() {
    let server = tiny_server(&[]).await;
    let by_default = server.post(COMPLETIONS, &json!({"prompt": "a", "ignore_eos": true})).await;
    assert_eq!((by_default.usage("/completion_tokens"), by_default.finish_reason().as_str()), (16, "length"));
    let messages = json!([{"role": "user", "content": "The river?"}]);
    let limited = json!({"messages": messages, "ignore_eos": true, "max_completion_tokens": 7});
    let limited = server.post(CHAT, &limited).await;
    assert_eq!((limited.usage("/completion_tokens"), limited.finish_reason().as_str()), (7, "length"));
    // Without a limit of its own, a conversation goes on to the end of the context.
    let whole = server.post(CHAT, &json!({"messages": messages, "ignore_eos": true})).await;
    assert_eq!((whole.usage("/total_tokens"), whole.finish_reason().as_str()), (512, "length"));
    let to_the_end = server.post(COMPLETIONS, &greedy("a", 511)).await;
    assert_eq!(to_the_end.usage("/total_tokens"), 512);
}

#[tokio::test]
async fn an_end_token_ends_the_answer_and_is_no_text() {
    let server = tiny_server(&[]).await;
    // Of many random answers of a model that chooses evenly, some end by themselves.
    let request = json!({"prompt": "a", "max_tokens": 400, "temperature": 2, "seed": 1, "n": 32});
    let reply = server.post(COMPLETIONS, &request).await;
    let body = reply.json();
    let choices = body["choices"].as_array().expect("a list");
    let stopped: Vec<&Value> = choices.iter().filter(|choice| choice["finish_reason"] == "stop").collect();
    assert!(!stopped.is_empty(), "no answer met an end token: choose another seed");
    for choice in stopped {
        assert!(!choice["text"].as_str().expect("a text").contains("<|im_end|>"), "{choice}");
    }
    let ignoring = server.post(COMPLETIONS, &with(request, json!({"ignore_eos": true}))).await;
    assert_eq!(ignoring.usage("/completion_tokens"), 32 * 400);
}
