//! What the router is told of requests, what it refuses, and what clients are told of its choice.

use axum::http::HeaderValue;
use serde_json::{Value, json};
use spillway_router::{Boundary, Capabilities, ContentRules, Feature, LabelSource, Privacy};
use spillway_types::{TokenPrices, Usd};

use super::fake::{Answer, Service, Setup, all_but, post};
use crate::config::{ApiKeys, ClientKey};

const CHAT: &str = "/v1/chat/completions";
const EXPLAIN: &str = "/admin/route/explain";

fn asking(fields: &Value) -> Value {
    let mut body = json!({"messages": [{"role": "user", "content": "hi"}]});
    for (name, value) in fields.as_object().expect("an object") {
        body[name] = value.clone();
    }
    body
}

async fn send(
    service: &Service,
    path: &str,
    body: &Value,
    headers: &[(&'static str, &'static str)],
) -> Answer {
    let mut request = post(path, body);
    for (name, value) in headers {
        request.headers_mut().insert(*name, HeaderValue::from_static(value));
    }
    service.read(request).await
}

/// A dollar a million tokens of the prompt, two for those of the answer.
fn paid() -> Capabilities {
    let dollars = |dollars| Usd::from_nanos(dollars * Usd::NANOS_PER_DOLLAR);
    let prices = TokenPrices { input: dollars(1), output: dollars(2), ..TokenPrices::default() };
    Capabilities { prices, boundary: Boundary::Outside, ..all_but(&[]) }
}

fn paid_service() -> Service {
    Setup { capabilities: paid(), default_privacy: Privacy::Standard, ..Setup::default() }.build()
}

#[tokio::test]
async fn what_no_backend_can_do_is_refused_by_the_name_of_the_field() {
    let lacking = [
        Feature::Tools,
        Feature::Images,
        Feature::JsonObject,
        Feature::JsonSchema,
        Feature::ReasoningEffort,
        Feature::TokenRules,
        Feature::SeveralChoices,
    ];
    let service = Setup { capabilities: all_but(&lacking), ..Setup::default() }.build();
    let picture = json!([{"type": "image_url", "image_url": {"url": "data:;base64,/9j/4A=="}}]);
    for (field, value) in [
        ("tools", json!([{"type": "function", "function": {"name": "add"}}])),
        ("messages", json!([{"role": "user", "content": picture}])),
        ("response_format", json!({"type": "json_object"})),
        ("response_format", json!({"type": "json_schema", "json_schema": {"name": "a", "schema": {}}})),
        ("reasoning_effort", json!("low")),
        ("min_p", json!(0.1)),
        ("ignore_eos", json!(true)),
        ("n", json!(2)),
    ] {
        let mut fields = json!({});
        fields[field] = value;
        let answer = send(&service, CHAT, &asking(&fields), &[]).await;
        let error = &answer.json()["error"];
        assert_eq!(answer.status, 400, "{error}");
        assert_eq!(
            (&error["code"], &error["param"], &error["type"]),
            (&json!("unsupported_parameter"), &json!(field), &json!("invalid_request_error"))
        );
        let message = error["message"].as_str().expect("a message");
        let mend = match field {
            "messages" => "pictures in `messages` are not supported: send text only (".to_owned(),
            field => format!("`{field}` is not supported: leave it out ("),
        };
        assert!(message.starts_with(&mend), "{message}");
    }
    assert!(service.seen().is_empty());
}

#[tokio::test]
async fn tools_of_an_earlier_turn_need_no_backend_with_tools() {
    let service = Setup { capabilities: all_but(&[Feature::Tools]), ..Setup::default() }.build();
    let call = json!({"id": "c", "type": "function", "function": {"name": "add", "arguments": "{}"}});
    let body = json!({"messages": [
        {"role": "user", "content": "1+2?"},
        {"role": "assistant", "content": null, "tool_calls": [call]},
        {"role": "tool", "content": "3", "tool_call_id": "c"},
    ], "tool_choice": "none"});
    assert_eq!(send(&service, CHAT, &body, &[]).await.status, 200);
}

#[tokio::test]
async fn headers_and_user_reach_the_router() {
    let service = Setup { default_privacy: Privacy::Standard, ..Setup::default() }.build();
    let body = asking(&json!({"user": "ann", "max_tokens": 7, "stream": true}));
    let headers = [
        ("x-spillway-privacy", "private"),
        ("x-spillway-max-cost-usd", "0.5"),
        ("x-spillway-slo-ttft-ms", "250"),
        ("x-spillway-tags", "law"),
    ];
    send(&service, CHAT, &body, &headers).await;
    send(&service, CHAT, &body, &[("x-spillway-session", "s-1")]).await;
    let heard = service.heard.all();
    let first = &heard[0];
    assert_eq!((first.label.privacy, &first.label.source), (Privacy::Private, &LabelSource::Header));
    assert_eq!(
        (first.max_cost, first.slo_ttft.map(|goal| goal.as_millis())),
        (Some(Usd::from_nanos(500_000_000)), Some(250))
    );
    assert_eq!(
        (first.session.as_deref(), first.tags[0].as_ref(), first.text.as_ref()),
        (Some("ann"), "law", "hi")
    );
    assert_eq!((first.needs.max_tokens, first.is_stream, first.key.as_deref()), (Some(7), true, None));
    assert_eq!((heard[1].session.as_deref(), heard[1].label.privacy), (Some("s-1"), Privacy::Standard));
}

#[tokio::test]
async fn a_key_s_name_and_label_reach_the_router() {
    let ward = ClientKey { name: Some("ward 7".into()), privacy: Some(Privacy::Private) };
    let service = Setup {
        api_keys: Some(ApiKeys::of_one("sk-1", ward)),
        default_privacy: Privacy::Standard,
        ..Setup::default()
    }
    .build();
    let headers = [("authorization", "Bearer sk-1"), ("x-spillway-privacy", "standard")];
    let answer = send(&service, CHAT, &asking(&json!({})), &headers).await;
    assert_eq!(answer.header("x-spillway-route"), Some("only-candidate; route=tiny; private=key ward 7"));
    let heard = service.heard.all();
    assert_eq!((heard[0].key.as_deref(), heard[0].label.privacy), (Some("ward 7"), Privacy::Private));
    assert_eq!(send(&service, CHAT, &asking(&json!({})), &[]).await.status, 401);
    assert_eq!(send(&service, EXPLAIN, &asking(&json!({})), &[]).await.status, 401);
}

#[tokio::test]
async fn a_label_that_nobody_knows_is_refused_before_the_body_is_read() {
    let service = Setup::default().build();
    let answer = send(&service, CHAT, &json!("no object"), &[("x-spillway-privacy", "secret")]).await;
    let error = &answer.json()["error"];
    assert_eq!((answer.status.as_u16(), &error["param"]), (400, &json!("x-spillway-privacy")));
    assert_eq!(error["message"], "x-spillway-privacy is \"secret\", must be private or standard");
}

#[tokio::test]
async fn private_requests_are_refused_rather_than_sent_outside() {
    let rules = ContentRules::new([("iban".into(), r"\bDE\d{20}\b".to_owned())]).expect("an expression");
    let service = Setup {
        capabilities: paid(),
        default_privacy: Privacy::Standard,
        content_rules: rules,
        ..Setup::default()
    }
    .build();
    let secret = json!({"messages": [{"role": "user", "content": "pay DE02120300000000202051"}]});
    let private = [("x-spillway-privacy", "private")];
    for (body, headers) in [(asking(&json!({})), &private[..]), (secret, &[][..])] {
        let answer = send(&service, CHAT, &body, headers).await;
        let code = answer.json()["error"]["code"].clone();
        assert_eq!((answer.status.as_u16(), code), (400, json!("not_permitted")));
        assert!(!answer.body.contains("DE02"), "{}", answer.body);
    }
    assert!(service.seen().is_empty());
    assert_eq!(send(&service, CHAT, &asking(&json!({})), &[]).await.status, 200);
}

#[tokio::test]
async fn a_request_that_may_cost_less_than_it_could_is_refused() {
    let service = paid_service();
    let body = asking(&json!({"max_tokens": 1000}));
    let answer = send(&service, CHAT, &body, &[("x-spillway-max-cost-usd", "0.001")]).await;
    assert_eq!((answer.status.as_u16(), &answer.json()["error"]["code"]), (400, &json!("max_cost_exceeded")));
    assert_eq!(send(&service, CHAT, &body, &[("x-spillway-max-cost-usd", "0.01")]).await.status, 200);
}

#[tokio::test]
async fn several_prompts_share_what_their_request_may_cost() {
    let service = paid_service();
    let body = json!({"prompt": ["a", "b"], "max_tokens": 5});
    send(&service, "/v1/completions", &body, &[("x-spillway-max-cost-usd", "1")]).await;
    let costs: Vec<_> = service.heard.all().iter().map(|request| request.max_cost).collect();
    assert_eq!(costs, [Some(Usd::from_nanos(500_000_000)); 2]);
}

/// The scripted answer has 5 tokens in its prompt and 3 of its own, at one and two dollars a million.
#[tokio::test]
async fn a_whole_answer_tells_who_served_and_what_it_cost() {
    let service = paid_service();
    let answer = send(&service, CHAT, &asking(&json!({})), &[]).await;
    assert_eq!(answer.header("x-spillway-cost-usd"), Some("0.000011"));
    assert_eq!(answer.json()["usage"]["cost"], json!(0.000_011));
    assert_eq!(answer.header("x-spillway-backend"), Some("local"));
    assert_eq!(answer.header("x-spillway-model"), Some("tiny"));
    assert_eq!(answer.header("x-spillway-route"), Some("only-candidate; route=tiny"));
}

#[tokio::test]
async fn a_stream_tells_its_cost_in_a_comment_before_it_is_done() {
    let service = paid_service();
    let body = asking(&json!({"stream": true, "stream_options": {"include_usage": true}}));
    let answer = send(&service, CHAT, &body, &[]).await;
    assert_eq!(answer.header("x-spillway-cost-usd"), None);
    let end = "\n\n: x-spillway-cost-usd 0.000011\n\ndata: [DONE]\n\n";
    assert!(answer.body.ends_with(end), "{}", answer.body);
    assert!(answer.body.contains("\"cost\":0.000011"), "{}", answer.body);
}

#[tokio::test]
async fn a_decision_is_explained_without_serving() {
    let service = paid_service();
    let body = asking(&json!({"max_tokens": 1000}));
    let explained = send(&service, EXPLAIN, &body, &[]).await.json();
    assert_eq!(
        explained,
        json!({
            "route": "tiny", "privacy": "standard", "privacy_said_by": "route", "reason": "only-candidate",
            "plan": ["local"], "variant": null, "gain": null, "gain_threshold": null, "slo_ttft_ms": null,
            "needs": {"features": ["chat template"], "prompt_tokens": 5, "max_tokens": 1000},
            "candidates": [{
                "backend": "local", "model": "tiny", "excluded": [],
                "score": {"ttft_ms": null, "needs_preemption": false, "cost_usd": 0.002_005, "looks_too_long": false},
            }],
        })
    );
    let private = [("x-spillway-privacy", "private")];
    let explained = send(&service, EXPLAIN, &body, &private).await.json();
    assert_eq!((&explained["reason"], &explained["plan"]), (&Value::Null, &json!([])));
    let why = &explained["candidates"][0]["excluded"][0];
    assert_eq!(
        (&why["code"], &why["message"]),
        (&json!("private"), &json!("is outside, and the request is private (header says so)"))
    );
    let completion = send(&service, EXPLAIN, &json!({"prompt": ["a", "b"]}), &[]).await.json();
    assert_eq!(completion["needs"]["features"], json!(["plain completions"]));
    assert!(service.seen().is_empty());
    assert!(service.heard.all().is_empty(), "a dry run leaves no trace");
}

#[tokio::test]
async fn what_cannot_be_explained_is_refused_as_when_it_is_served() {
    let service = paid_service();
    for (body, param) in [
        (json!({"messages": []}), "messages"),
        (json!({"model": "tiny"}), "messages"),
        (json!({"prompt": "a", "model": "gpt-9"}), "model"),
    ] {
        let answer = send(&service, EXPLAIN, &body, &[]).await;
        assert_eq!(answer.json()["error"]["param"], param, "{}", answer.body);
    }
}
