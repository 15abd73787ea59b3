//! A backend and a server that answers by a script, over real sockets.

mod upstream;

use futures::StreamExt as _;
use spillway_router::{BackendHealth, UpstreamError};
use spillway_types::{
    FinishReason, GenerateEvent, ModelId, OutputFormat, Priority, RequestId, Sampling, SamplingParams, Seed,
    TextDelta, Usage,
};

use super::*;
use upstream::{Act, Upstream, end, event, head, json, piece, whole};

const HELLO: &str = r#"{"choices":[{"index":0,"text":"hello"}]}"#;
const STOP: &str = r#"{"choices":[{"index":0,"text":"","finish_reason":"stop"}]}"#;
const USAGE: &str = r#"{"choices":[],"usage":{"prompt_tokens":3,"completion_tokens":1,"total_tokens":4}}"#;
const MARKER: &str = "the prompt of somebody";

fn good() -> Vec<Act> {
    vec![head(), event(HELLO), event(STOP), event(USAGE), event("[DONE]"), end()]
}

fn config(urls: &[&str]) -> CompatibleConfig {
    let dialect = Dialect::Vllm;
    CompatibleConfig {
        id: BackendId::new("remote"),
        replicas: urls.iter().map(|url| ReplicaUrl::parse(url).expect("an address")).collect(),
        capabilities: Capabilities::inside(ModelId::new("theirs"), dialect.features()),
        dialect,
        delivery: Delivery::Streamed,
        api_key: Some(ApiKey::new("hunter2").expect("a key")),
        headers: ExtraHeaders::new([("x-tenant", "seven")]).expect("a header"),
        certificates: Vec::new(),
        timeouts: Timeouts::default(),
        health: None,
    }
}

fn start(config: CompatibleConfig) -> CompatibleBackend {
    CompatibleBackend::start(config).expect("it can be set up")
}

fn request() -> GenerateRequest {
    GenerateRequest {
        request_id: RequestId(1),
        model: ModelId::new("ours"),
        prompt: Prompt::Text(MARKER.to_owned()),
        truncation: None,
        params: SamplingParams::new(Sampling::Greedy, Seed(1)),
        format: OutputFormat::Text,
        reasoning_effort: None,
        priority: Priority::Normal,
        cache_salt: None,
    }
}

/// Asks once, and reads the answer to its end.
async fn ask(backend: &CompatibleBackend) -> Result<Vec<GenerateEvent>, UpstreamError> {
    let answered = async {
        let mut stream = backend.generate(request()).await?;
        let mut events = Vec::new();
        while let Some(event) = stream.next().await {
            events.push(event?);
        }
        Ok(events)
    };
    answered.await.map_err(|error: BackendError| match error {
        BackendError::Upstream(error) => error,
        other => panic!("{other:?}"),
    })
}

fn wanted() -> Vec<GenerateEvent> {
    let text = TextDelta { choice: 0, text: "hello".to_owned(), tokens: Vec::new() };
    let usage = Usage { prompt_tokens: 3, cached_tokens: 0, cache_write_tokens: 0, completion_tokens: 1 };
    vec![
        GenerateEvent::Started { prompt_tokens: None, provider_request_id: None },
        GenerateEvent::Delta(text),
        GenerateEvent::Finished { choice: 0, reason: FinishReason::Stop, stop: None },
        GenerateEvent::Done(usage),
    ]
}

#[tokio::test]
async fn a_stream_is_read_to_its_end_and_its_connection_is_used_again() {
    let upstream = Upstream::start(vec![good()]).await;
    let backend = start(config(&[&upstream.url]));
    for _ in 0..3 {
        assert_eq!(ask(&backend).await, Ok(wanted()));
    }
    let seen = upstream.seen();
    assert!(seen.iter().all(|seen| seen.connection == 0), "{seen:?}");
    let head = &seen[0].head;
    assert!(head.starts_with("post /v1/completions http/1.1"), "{head}");
    for line in ["authorization: bearer hunter2", "x-tenant: seven", "content-type: application/json"] {
        assert!(head.lines().any(|told| told == line), "{line} in {head}");
    }
    assert_eq!((&seen[0].body["prompt"], &seen[0].body["model"]), (&MARKER.into(), &"theirs".into()));
    assert_eq!(backend.snapshot().load.num_running, 0);
}

#[tokio::test]
async fn a_connection_that_was_closed_while_it_was_free_is_not_used() {
    let closing = [good(), vec![Act::CloseLater]].concat();
    let upstream = Upstream::start(vec![closing, good()]).await;
    let backend = start(config(&[&upstream.url]));
    assert_eq!(ask(&backend).await, Ok(wanted()));
    upstream.close().await;
    // The runtime looks at its sockets.
    tokio::task::yield_now().await;
    assert_eq!(ask(&backend).await, Ok(wanted()));
    let connections: Vec<usize> = upstream.seen().iter().map(|seen| seen.connection).collect();
    assert_eq!(connections, [0, 1]);
}

#[tokio::test]
async fn a_connection_is_waited_for_only_so_long() {
    // It takes connections, and says nothing of TLS.
    let silent = tokio::net::TcpListener::bind("127.0.0.1:0").await.expect("a free port");
    let url = format!("https://{}", silent.local_addr().expect("an address"));
    let timeouts = Timeouts { connect: Duration::from_millis(30), ..Timeouts::default() };
    let backend = start(CompatibleConfig { timeouts, ..config(&[&url]) });
    let error = ask(&backend).await.expect_err("nobody answers");
    assert_eq!((error.class, error.code.as_str()), (ErrorClass::Connect, "connect_failed"));
    assert!(error.message.contains("no connection within 30 ms"), "{}", error.message);
}

#[tokio::test]
async fn a_whole_answer_gives_the_same_events() {
    let answer = r#"{"choices":[{"index":0,"text":"hello","finish_reason":"stop"}],
        "usage":{"prompt_tokens":3,"completion_tokens":1,"total_tokens":4}}"#;
    let upstream = Upstream::start(vec![json(answer)]).await;
    let whole = start(CompatibleConfig { delivery: Delivery::Whole, ..config(&[&upstream.url]) });
    assert_eq!(ask(&whole).await, Ok(wanted()));
    assert_eq!(upstream.seen()[0].body["stream"], false);
    let streamed = start(config(&[&upstream.url]));
    assert_eq!(ask(&streamed).await, Ok(wanted()), "also where a stream was asked for");
}

#[tokio::test]
async fn a_status_that_is_an_error_is_told_by_its_class_and_repeats_no_prompt() {
    use ErrorClass as C;
    let repeating = format!(r#"{{"error":{{"message":"cannot read {MARKER}","code":"odd"}}}}"#);
    for (script, class, status) in [
        (whole("429 Too Many Requests", "retry-after: 7\r\n", ""), C::Throttled, 429),
        (whole("400 Bad Request", "x-request-id: abc\r\n", &repeating), C::InvalidRequest, 400),
        (whole("500 Internal Server Error", "", &repeating), C::Internal, 500),
        (whole("307 Temporary Redirect", "location: /elsewhere\r\n", ""), C::NotFound, 307),
        (whole("401 Unauthorized", "", ""), C::Credentials, 401),
    ] {
        let upstream = Upstream::start(vec![script]).await;
        let error = ask(&start(config(&[&upstream.url]))).await.expect_err("it is an error");
        assert_eq!((error.class, error.status), (class, Some(status)));
        assert_eq!(error.progress, Progress::NothingSent);
        assert_eq!(error.retry_after.is_some(), status == 429);
        assert_eq!(error.request_id.as_deref(), (status == 400).then_some("abc"));
        let told = format!("{error} {error:?}");
        assert!(!told.contains(MARKER) && !told.contains("hunter2"), "{told}");
        assert_eq!(upstream.seen().len(), 1, "it is asked once, and no redirect is followed");
    }
}

#[tokio::test]
async fn an_answer_that_breaks_off_is_never_a_good_end() {
    use ErrorClass as C;
    let error = r#"{"error":{"message":"x","type":"InternalServerError","code":500}}"#;
    let named = format!("event: error\ndata: {error}\n\n");
    for (name, acts, class) in [
        ("an error event", vec![event(error), event("[DONE]"), end()], C::Internal),
        ("an event named error", vec![piece(&named), end()], C::Internal),
        ("a closed connection", vec![Act::Close], C::ConnectionLost),
        ("a cut piece", vec![Act::Send("ff\r\ndata: {".to_owned()), Act::Close], C::ConnectionLost),
        ("no JSON", vec![event("{"), end()], C::Malformed),
        ("no last event", vec![event(STOP), event(USAGE), end()], C::MissingEnd),
        ("no reason", vec![event(USAGE), event("[DONE]"), end()], C::MissingEnd),
        ("no usage", vec![event(STOP), event("[DONE]"), end()], C::MissingEnd),
    ] {
        let before = [vec![head()], acts.clone()].concat();
        let after = [vec![head(), event(HELLO)], acts].concat();
        let upstream = Upstream::start(vec![before, after]).await;
        let backend = start(config(&[&upstream.url]));
        let first = ask(&backend).await.expect_err(name);
        let second = ask(&backend).await.expect_err(name);
        // What ended without a word of content was empty.
        let is_empty = first.class == C::EmptyAnswer && matches!(name, "no last event" | "no reason");
        assert!(first.class == class || is_empty, "{name}: {first:?}");
        assert_eq!((second.class, second.progress), (class, Progress::ContentSent), "{name}");
        assert_eq!(backend.snapshot().load.num_running, 0, "{name}");
    }
}

#[tokio::test]
async fn a_good_status_without_an_answer_is_an_error() {
    for script in [vec![head(), end()], vec![head(), event("[DONE]"), end()], json(r#"{"choices":[]}"#)] {
        let upstream = Upstream::start(vec![script]).await;
        let error = ask(&start(config(&[&upstream.url]))).await.expect_err("it is empty");
        assert_eq!((error.class, error.progress), (ErrorClass::EmptyAnswer, Progress::NothingSent));
    }
}

/// Each limit is set far below the others, and the server never goes on: so it is this limit that is met.
#[tokio::test]
async fn silence_ends_at_the_limit_that_it_breaks() {
    use ErrorClass as C;
    let short = Duration::from_millis(30);
    let timeouts = Timeouts::default();
    let comments = vec![head(), piece(": keep-alive\n\n"), Act::Hang];
    for (script, timeouts, class) in [
        (vec![Act::Hang], Timeouts { first_token: short, ..timeouts }, C::FirstTokenTimeout),
        (comments, Timeouts { first_token: short, ..timeouts }, C::FirstTokenTimeout),
        (vec![head(), event(HELLO), Act::Hang], Timeouts { idle: short, ..timeouts }, C::IdleTimeout),
        (vec![head(), event(HELLO), Act::Hang], Timeouts { total: short, ..timeouts }, C::TotalTimeout),
    ] {
        let upstream = Upstream::start(vec![script]).await;
        let backend = start(CompatibleConfig { timeouts, ..config(&[&upstream.url]) });
        let error = ask(&backend).await.expect_err("it hangs");
        assert_eq!(error.class, class);
        upstream.hung_up().await;
    }
}

#[tokio::test]
async fn dropping_a_stream_closes_its_connection() {
    let upstream = Upstream::start(vec![vec![head(), event(HELLO), Act::Hang]]).await;
    let backend = start(config(&[&upstream.url]));
    let mut stream = backend.generate(request()).await.expect("it answers");
    assert!(matches!(stream.next().await, Some(Ok(GenerateEvent::Started { .. }))));
    assert!(matches!(stream.next().await, Some(Ok(GenerateEvent::Delta(_)))));
    assert_eq!(backend.snapshot().load.num_running, 1);
    drop(stream);
    upstream.hung_up().await;
    assert_eq!(backend.snapshot().load.num_running, 0);
}

#[tokio::test]
async fn another_replica_is_asked_after_one_that_is_gone() {
    let upstream = Upstream::start(vec![good()]).await;
    // A port that was free a moment ago, and where nobody listens.
    let gone = tokio::net::TcpListener::bind("127.0.0.1:0").await.expect("a free port");
    let gone_url = format!("http://{}", gone.local_addr().expect("an address"));
    drop(gone);
    let backend = start(config(&[&gone_url, &upstream.url]));
    let mut refused = 0;
    for _ in 0..4 {
        match ask(&backend).await {
            Ok(events) => assert_eq!(events, wanted()),
            Err(error) => {
                assert_eq!(error.class, ErrorClass::Connect);
                refused += 1;
            }
        }
    }
    assert!(refused <= 1, "it is left alone after the first time");
    assert_eq!(backend.snapshot().health, BackendHealth::Ready);
    let alone = start(config(&[&gone_url]));
    ask(&alone).await.expect_err("nobody listens");
    assert!(matches!(alone.snapshot().health, BackendHealth::Unreachable { .. }));
}

/// The last script serves `/health` and `/metrics` alike.
#[tokio::test]
async fn a_watch_tells_health_and_load_and_ends_with_its_backend() {
    let metrics = "vllm:num_requests_running 5\nvllm:num_requests_waiting 2\nvllm:kv_cache_usage_perc 0.5\n";
    let scripts = vec![whole("503 Service Unavailable", "", ""), whole("200 OK", "", metrics)];
    let upstream = Upstream::start(scripts).await;
    let settings = HealthSettings { interval: Duration::from_millis(20), timeout: Duration::from_secs(20) };
    let backend = start(CompatibleConfig { health: Some(settings), ..config(&[&upstream.url]) });
    let replicas = Arc::clone(&backend.replicas);
    let until = async |holds: &dyn Fn() -> bool| {
        let mut looks = tokio::time::interval(Duration::from_millis(1));
        while !holds() {
            looks.tick().await;
        }
    };
    until(&|| matches!(backend.snapshot().health, BackendHealth::Unreachable { .. })).await;
    until(&|| backend.snapshot().health == BackendHealth::Ready).await;
    until(&|| backend.snapshot().load.num_waiting == 2).await;
    assert!(upstream.seen().iter().any(|seen| seen.head.starts_with("get /metrics")));
    drop(backend);
    until(&|| Arc::strong_count(&replicas) == 1).await;
}
