//! A second Spillway as a backend of the first: the real server, asked by the OpenAI-compatible backend.

use std::num::NonZeroU32;
use std::time::Duration;

use futures::StreamExt as _;
use serde_json::{Value, json};
use spillway_backends::{
    ApiKey, CompatibleBackend, CompatibleConfig, Delivery, Dialect, ExtraHeaders, HealthSettings, ReplicaUrl,
    Timeouts,
};
use spillway_router::{
    Backend as _, BackendError, BackendHealth, BackendId, Capabilities, ErrorClass, TokenStream,
};
use spillway_tests::{Server, Surroundings, tiny_model, within};
use spillway_types::{
    AnswerToken, ChatMessage, ChatPrompt, FinishReason, GenerateEvent, GenerateRequest, GivenSampling,
    ModelId, OutputFormat, Priority, Prompt, RequestId, Role, Sampling, SamplingParams, Seed, TokenId,
    TopLogprobs, Usage,
};

use super::requests::{CHAT, COMPLETIONS, LONG_PROMPT, endless_server, tiny_server};

fn backend(server: &Server, model: &str, delivery: Delivery) -> CompatibleBackend {
    CompatibleBackend::start(config(server, model, delivery)).expect("it can be set up")
}

fn config(server: &Server, model: &str, delivery: Delivery) -> CompatibleConfig {
    let dialect = Dialect::Vllm;
    CompatibleConfig {
        id: BackendId::new("second"),
        replicas: vec![ReplicaUrl::parse(server.client().base()).expect("an address")],
        capabilities: Capabilities::inside(ModelId::new(model), dialect.features()),
        dialect,
        delivery,
        api_key: None,
        headers: ExtraHeaders::default(),
        certificates: Vec::new(),
        timeouts: Timeouts::default(),
        health: Some(HealthSettings { interval: Duration::from_millis(20), ..HealthSettings::default() }),
    }
}

fn request(prompt: Prompt, max_tokens: u32) -> GenerateRequest {
    let sampling = Sampling::new(1.0, None, 1.0, 0.0).expect("in range");
    let params = SamplingParams {
        max_tokens: NonZeroU32::new(max_tokens),
        ignore_eos: true,
        given: GivenSampling { temperature: Some(1.0), seed: Some(Seed(5)), ..GivenSampling::default() },
        ..SamplingParams::new(sampling, Seed(5))
    };
    GenerateRequest {
        request_id: RequestId(1),
        model: ModelId::new("whatever clients say"),
        prompt,
        truncation: None,
        params,
        format: OutputFormat::Text,
        reasoning_effort: None,
        priority: Priority::Normal,
        cache_salt: None,
    }
}

fn chat() -> Prompt {
    let messages = [(Role::Developer, "Be brief."), (Role::User, "The river?")];
    Prompt::Chat(ChatPrompt::new(messages.map(|(role, text)| ChatMessage::new(role, text)).to_vec()))
}

/// The same request as clients write it.
fn wire(request: &GenerateRequest) -> (&'static str, Value) {
    let params = &request.params;
    let mut body = json!({
        "max_tokens": params.max_tokens, "temperature": 1, "seed": params.seed.0, "n": params.n, "ignore_eos": true,
    });
    match &request.prompt {
        Prompt::Chat(_) => {
            body["messages"] = json!([{"role": "system", "content": "Be brief."}, {"role": "user", "content": "The river?"}]);
            (CHAT, body)
        }
        Prompt::Text(text) => {
            body["prompt"] = json!(text);
            (COMPLETIONS, body)
        }
        Prompt::Tokens(tokens) => {
            body["prompt"] = tokens.iter().map(|token| token.0).collect();
            (COMPLETIONS, body)
        }
    }
}

#[derive(Debug, Default)]
struct Read {
    texts: Vec<String>,
    tokens: Vec<Vec<AnswerToken>>,
    reasons: Vec<Option<FinishReason>>,
    usage: Usage,
}

async fn read(mut stream: TokenStream, num_choices: u32) -> Read {
    let count = num_choices as usize;
    let mut read = Read {
        texts: vec![String::new(); count],
        tokens: vec![Vec::new(); count],
        reasons: vec![None; count],
        usage: Usage::default(),
    };
    while let Some(event) = within("an event", stream.next()).await {
        match event.expect("the answer goes well") {
            GenerateEvent::Started { .. } => {}
            GenerateEvent::Delta(delta) => {
                read.texts[delta.choice as usize].push_str(&delta.text);
                read.tokens[delta.choice as usize].extend(delta.tokens);
            }
            GenerateEvent::Finished { choice, reason, .. } => read.reasons[choice as usize] = Some(reason),
            GenerateEvent::Done(usage) => read.usage = usage,
            other => panic!("{other:?}"),
        }
    }
    read
}

#[tokio::test]
async fn another_spillway_answers_as_if_it_were_asked_itself() {
    let server = tiny_server(&[]).await;
    let several = |prompt, n| {
        let mut asked = request(prompt, 40);
        asked.params.n = NonZeroU32::new(n).expect("not zero");
        asked
    };
    let requests = [
        several(chat(), 1),
        several(chat(), 3),
        several(Prompt::Text(LONG_PROMPT.to_owned()), 2),
        several(Prompt::Tokens(vec![TokenId(68), TokenId(69)]), 1),
    ];
    for delivery in [Delivery::Streamed, Delivery::Whole] {
        let backend = backend(&server, "tied", delivery);
        for request in &requests {
            let (path, body) = wire(request);
            let direct = server.post(path, &body).await;
            let stream = backend.generate(request.clone()).await.expect("it is admitted");
            let read = read(stream, request.params.n.get()).await;
            assert_eq!(read.texts, direct.texts(), "{body} {delivery:?}");
            assert!(read.reasons.iter().all(|reason| *reason == Some(FinishReason::Length)));
            assert_eq!(u64::from(read.usage.prompt_tokens), direct.usage("/prompt_tokens"));
            assert_eq!(u64::from(read.usage.completion_tokens), direct.usage("/completion_tokens"));
        }
    }
}

#[tokio::test]
async fn log_probabilities_of_both_endpoints_are_those_of_the_server() {
    let server = tiny_server(&[]).await;
    let backend = backend(&server, "tied", Delivery::Streamed);
    for prompt in [chat(), Prompt::Text("The river".to_owned())] {
        let mut asked = request(prompt, 20);
        asked.params.logprobs = Some(TopLogprobs::try_from(3).expect("in range"));
        let (path, mut body) = wire(&asked);
        let is_chat = path == CHAT;
        body["logprobs"] = if is_chat { json!(true) } else { json!(3) };
        if is_chat {
            body["top_logprobs"] = json!(3);
        }
        let direct = server.post(path, &body).await.json()["choices"][0]["logprobs"].clone();
        let stream = backend.generate(asked).await.expect("it is admitted");
        let tokens = read(stream, 1).await.tokens.remove(0);
        assert_eq!(tokens.len(), 20);
        for (index, token) in tokens.iter().enumerate() {
            let detail = token.detail.as_ref().expect("it was told");
            let (logprob, best) = if is_chat {
                let told = &direct["content"][index];
                assert_eq!(json!(detail.bytes), told["bytes"]);
                (&told["logprob"], &told["top_logprobs"][0]["logprob"])
            } else {
                assert_eq!(json!(detail.text_offset), direct["text_offset"][index]);
                let best = direct["top_logprobs"][index].as_object().and_then(|top| top.values().next());
                (&direct["token_logprobs"][index], best.expect("alternatives were asked for"))
            };
            let told = |value: &Value| value.as_f64().map(|value| (value as f32).to_bits());
            assert_eq!(Some(token.logprob.to_bits()), told(logprob));
            assert_eq!(Some(detail.top[0].logprob.to_bits()), told(best));
        }
    }
}

#[tokio::test]
async fn dropping_an_answer_aborts_it_on_the_other_server() {
    let (server, _model) = endless_server(&[]).await;
    let model = server.get("/v1/models").await.json()["data"][0]["id"].as_str().expect("a name").to_owned();
    let backend = backend(&server, &model, Delivery::Streamed);
    let endless = request(Prompt::Text("The river".to_owned()), 90_000);
    let mut stream = backend.generate(endless).await.expect("it is admitted");
    for _ in 0..3 {
        within("an event", stream.next()).await.expect("it goes on").expect("it goes well");
    }
    server.until("its load to be seen", async || backend.snapshot().load.num_running == 1).await;
    drop(stream);
    server.until_metric("vllm:request_success_total", "finished_reason=\"abort\"", 1.0).await;
    server.until("its rest to be seen", async || backend.snapshot().load.kv_cache_usage == Some(0.0)).await;
    assert_eq!(backend.snapshot().load.num_running, 0);
}

/// What a refused request was refused for.
async fn refusal(backend: &CompatibleBackend, asked: GenerateRequest) -> (ErrorClass, String) {
    match backend.generate(asked).await {
        Err(BackendError::Upstream(error)) => (error.class, error.message),
        Err(error) => panic!("{error:?}"),
        Ok(_) => panic!("it was admitted"),
    }
}

#[tokio::test]
async fn only_the_operators_certificate_and_key_open_the_way() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let issued = rcgen::generate_simple_self_signed(["127.0.0.1".to_owned()]).expect("a certificate");
    let (cert, key) = (folder.path().join("cert.pem"), folder.path().join("key.pem"));
    std::fs::write(&cert, issued.cert.pem()).expect("room on the disk");
    std::fs::write(&key, issued.signing_key.serialize_pem()).expect("room on the disk");
    let (cert, key) = (cert.to_str().expect("UTF-8"), key.to_str().expect("UTF-8"));
    let flags = ["--tls-cert", cert, "--tls-key", key, "--api-key", "sk-1"];
    let pem = issued.cert.pem();
    let surroundings = Surroundings { environment: &[], certificate: Some(&pem) };
    let server = Server::start_in(&surroundings, tiny_model("tied").as_os_str(), &flags).await;

    let with = |certificates: &[Vec<u8>], key: &str| {
        let (certificates, api_key) = (certificates.to_vec(), Some(ApiKey::new(key).expect("a key")));
        let config = CompatibleConfig {
            certificates,
            api_key,
            health: None,
            ..config(&server, "tied", Delivery::Streamed)
        };
        CompatibleBackend::start(config).expect("it can be set up")
    };
    let own = [issued.cert.der().to_vec()];
    let stream = with(&own, "sk-1").generate(request(chat(), 5)).await.expect("it is admitted");
    assert_eq!(read(stream, 1).await.usage.completion_tokens, 5);
    assert_eq!(refusal(&with(&[], "sk-1"), request(chat(), 5)).await.0, ErrorClass::Connect);
    let (class, message) = refusal(&with(&own, "sk-2"), request(chat(), 5)).await;
    assert_eq!(class, ErrorClass::Credentials);
    assert!(!message.contains("sk-2"), "{message}");
}

#[tokio::test]
async fn refusals_of_the_other_server_keep_their_class() {
    let server = tiny_server(&[]).await;
    let known = backend(&server, "tied", Delivery::Streamed);
    let unknown = backend(&server, "another", Delivery::Streamed);
    let long = refusal(&known, request(Prompt::Text(LONG_PROMPT.repeat(40)), 10)).await;
    assert_eq!(long.0, ErrorClass::ContextTooLong, "{}", long.1);
    let refused = refusal(&known, request(Prompt::Text("a".to_owned()), 5000)).await;
    assert_eq!(refused.0, ErrorClass::InvalidRequest, "{}", refused.1);
    assert!(refused.1.contains("5000"), "the client must hear how to mend it: {}", refused.1);
    assert_eq!(refusal(&unknown, request(chat(), 10)).await.0, ErrorClass::NotFound);
    assert_eq!(known.snapshot().health, BackendHealth::Ready);
    drop(server);
    let look = async || matches!(known.snapshot().health, BackendHealth::Unreachable { .. });
    within("the watch to see that it is gone", async {
        let mut pace = tokio::time::interval(Duration::from_millis(5));
        while !look().await {
            pace.tick().await;
        }
    })
    .await;
}
