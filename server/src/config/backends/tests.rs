//! `[[backends]]` as written, and what comes of them.

use std::time::Duration;

use spillway_router::Feature;
use spillway_store::Tier;
use spillway_types::Usd;

use super::*;
use crate::config::Secret;
use crate::config::source::tests::{check_refused, followed, read};

/// One of each type. Lines are told apart by their beginnings.
const FILE: &str = r#"
[model]
model = "demo"

[[backends]]
name = "here"
type = "local"

[[backends]]
name = "haiku"
type = "bedrock"
region = "eu-central-1"
model = "eu.anthropic.claude-haiku-4-5-20251001-v1:0"
price = { input = 1.1, output = "5.5", cache_read = 0.11, cache_write = 1.375 }
context_tokens = 200000
max_output_tokens = 64000

[[backends]]
name = "peer"
type = "openai"
boundary = "inside"
model = "qwen"
urls = ["http://10.0.0.7:8000/v1/", "http://10.0.0.8:8000"]

[[routes]]
name = "chat"
default_privacy = "private"
targets = ["here", "haiku", "peer"]
"#;

fn backends(text: &str) -> Vec<BackendConfig> {
    followed(text).routing.backends
}

fn bedrock(text: &str) -> BedrockSettings {
    match &backends(text)[1].kind {
        BackendKind::Bedrock(settings) => settings.clone(),
        other => panic!("{other:?}"),
    }
}

fn openai(text: &str) -> OpenAiSettings {
    match &backends(text)[2].kind {
        BackendKind::OpenAi(settings) => settings.clone(),
        other => panic!("{other:?}"),
    }
}

#[test]
fn every_type_has_its_boundary_its_defaults_and_exact_prices() {
    let backends = backends(FILE);
    let summary: Vec<_> = backends
        .iter()
        .map(|backend| (backend.id.as_str(), backend.kind_name(), backend.boundary, backend.is_paid()))
        .collect();
    assert_eq!(
        summary,
        [
            ("here", "local", Boundary::Inside, false),
            ("haiku", "bedrock", Boundary::Outside, true),
            ("peer", "openai", Boundary::Inside, false),
        ]
    );
    let haiku = bedrock(FILE);
    let dollars = |text| Usd::parse(text).expect("dollars");
    assert_eq!((haiku.terms.prices.input, haiku.terms.prices.output), (dollars("1.1"), dollars("5.5")));
    assert_eq!(haiku.terms.prices.cache_write, Some(dollars("1.375")));
    assert_eq!((haiku.default_max_tokens.get(), haiku.streaming), (4096, true));
    assert_eq!(haiku.terms.timeouts, Timeouts::default());
    let peer = openai(FILE);
    assert_eq!(peer.urls, ["http://10.0.0.7:8000", "http://10.0.0.8:8000"]);
    assert_eq!((peer.dialect, peer.health_interval), (Dialect::OpenAi, Duration::from_secs(2)));
}

#[test]
fn every_key_is_followed() {
    let bedrock = bedrock(&FILE.replace(
        "max_output_tokens = 64000",
        r#"max_output_tokens = 64000
        aws_profile = "team"
        endpoint_url = "http://127.0.0.1:4566"
        default_max_tokens = 1000
        service_tier = "flex"
        streaming = false
        json_schema = "native"
        tool_choice = "named"
        reasoning = "budget"
        output_burndown = 5
        tokens_per_minute = 2000000
        features = ["chat"]
        features_off = ["images"]
        connect_timeout = "1s"
        first_token_timeout = "2s"
        idle_timeout = "3s"
        total_timeout = "4s""#,
    ));
    assert_eq!(bedrock.aws_profile.as_deref(), Some("team"));
    assert_eq!(bedrock.endpoint_url.as_deref(), Some("http://127.0.0.1:4566"));
    assert_eq!((bedrock.default_max_tokens.get(), bedrock.streaming), (1000, false));
    assert_eq!(bedrock.service_tier, Some(Tier::Flex));
    assert_eq!(bedrock.json_schema, Some(JsonSchemaBy::Native));
    assert_eq!(bedrock.tool_choice, Some(ToolChoiceUpTo::Named));
    assert_eq!((bedrock.reasoning, bedrock.output_burndown.get()), (Some(ReasoningBy::Budget), 5));
    assert_eq!(bedrock.terms.tokens_per_minute.map(u64::from), Some(2_000_000));
    let features = FeatureChanges { also: [Feature::Chat].into(), off: [Feature::Images].into() };
    assert_eq!(bedrock.terms.features, features);
    let [connect, first_token, idle, total] = [1, 2, 3, 4].map(Duration::from_secs);
    assert_eq!(bedrock.terms.timeouts, Timeouts { connect, first_token, idle, total });

    let openai = openai(&FILE.replace(
        "model = \"qwen\"",
        r#"model = "qwen"
        dialect = "llama.cpp"
        api_key_env = "UPSTREAM_KEY"
        headers = { X-Team = "blue team" }
        health_interval = "9s""#,
    ));
    assert_eq!((openai.dialect, openai.health_interval), (Dialect::LlamaCpp, Duration::from_secs(9)));
    assert_eq!(openai.api_key.as_ref().map(Secret::reveal), Some("sk-upstream"));
    assert_eq!(openai.headers["x-team"].reveal(), "blue team");
    assert!(!format!("{openai:?}").contains("sk-upstream"));
}

#[test]
fn the_local_model_needs_no_backend_of_its_own() {
    let text = "[model]\nmodel = \"demo\"\nserved_model_name = [\"a\", \"b\"]\n";
    let config = followed(text);
    assert_eq!(config.routing.backends, [BackendConfig::implied_local()]);
    let models: Vec<_> = config.routing.routes[0].models.iter().map(ModelId::as_str).collect();
    assert_eq!((models, config.store), (vec!["a", "b"], crate::config::StorePlace::Memory));
}

#[test]
fn a_server_without_a_model_passes_everything_on() {
    let start = FILE.find("[[backends]]\nname = \"haiku\"").expect("it is there");
    let text = FILE[start..].replace("\"here\", ", "");
    let config = followed(&text);
    assert!(config.engine.is_none());
    let expected = crate::config::StorePlace::File("/home/ann/.local/state/spillway/spillway.db".into());
    assert_eq!(config.store, expected, "it costs money");
    let message = read("[server]\nport = 9\n").expect_err("nobody serves");
    assert!(message.contains("no model is named") && message.contains("[[backends]]"), "{message}");
}

#[test]
fn what_is_wrong_with_any_backend_is_told_with_its_line() {
    check_refused(
        FILE,
        &[
            ("name = \"here\"", "name = \"he re\"", "backends[0].name is `he re`, must be 1 to 64 letters"),
            ("name = \"haiku\"", "name = \"here\"", "backends[1].name is `here`, and so is backends[0].name"),
            (
                "type = \"local\"",
                "type = \"local\"\nboundary = \"outside\"",
                "backends[0].boundary is `outside`",
            ),
            (
                "type = \"local\"",
                "type = \"local\"\nmodel = \"m\"",
                "backends[0].model is given, but the backend is of type local",
            ),
            (
                "type = \"local\"",
                "type = \"openai\"\nboundary = \"inside\"\nregion = \"eu-west-1\"",
                "backends[0].region is given, but it is a key of type bedrock",
            ),
            (
                "context_tokens = 200000",
                "context_tokens = 200000\ndialect = \"vllm\"",
                "backends[1].dialect is given, but it is a key of type openai",
            ),
        ],
    );
    let without_type = FILE.replace("type = \"local\"\n", "");
    let message = read(&without_type).expect_err("it has no type");
    assert!(message.starts_with("file, line 5: backends[0].type is missing: give type ="), "{message}");
    let no_boundary = FILE.replace("boundary = \"inside\"\n", "");
    let message = read(&no_boundary).expect_err("it has no boundary");
    assert!(message.starts_with("file, line 18: backends[2].boundary is missing: say whether"), "{message}");
    let two = FILE
        .replace("type = \"openai\"\nboundary = \"inside\"\nmodel = \"qwen\"\nurls", "type = \"local\"\n#");
    let message = read(&two).expect_err("there is one engine");
    assert!(message.starts_with("file, line 20: backends[2].type is `local` again"), "{message}");
    let no_model = FILE.replace("model = \"demo\"", "");
    let message = read(&no_model).expect_err("it has no model");
    assert!(
        message.starts_with("file, line 7: backends[0].type is `local`, but no model is named"),
        "{message}"
    );
}

#[test]
fn what_is_wrong_with_a_bedrock_backend_is_told_with_its_line() {
    check_refused(
        FILE,
        &[
            (
                "region = \"eu-central-1\"",
                "region = \"Frankfurt\"",
                "backends[1].region is `Frankfurt`, must be a region of AWS",
            ),
            ("model = \"eu.", "model = \"eu an", "backends[1].model is `eu an"),
            (
                "price = { input = 1.1, output = \"5.5\",",
                "price = { input = 1.1,",
                "backends[1].price.output is missing: give dollars",
            ),
            (
                "max_output_tokens = 64000",
                "max_output_tokens = 300000",
                "backends[1].max_output_tokens is 300000, must be at most context_tokens, which is 200000",
            ),
            (
                "max_output_tokens = 64000",
                "max_output_tokens = 64000\ndefault_max_tokens = 64001",
                "backends[1].default_max_tokens is 64001, must be at most",
            ),
            (
                "context_tokens = 200000",
                "context_tokens = 200000\nendpoint_url = \"ftp://a\"",
                "backends[1].endpoint_url is `ftp://a`, must be an address",
            ),
            (
                "context_tokens = 200000",
                "context_tokens = 200000\nidle_timeout = \"0s\"",
                "backends[1].idle_timeout is 0s, must be longer than 0s",
            ),
            (
                "context_tokens = 200000",
                "context_tokens = 200000\ntotal_timeout = \"1m\"",
                "backends[1].total_timeout is 1m, must be such that total_timeout (1m) is at least first_token_timeout (2m)",
            ),
            (
                "context_tokens = 200000",
                "context_tokens = 200000\nfeatures = [\"chat\"]\nfeatures_off = [\"seed\", \"chat\"]",
                "backends[1].features_off[1] is given, but features has it, too",
            ),
            (
                "context_tokens = 200000",
                "context_tokens = 200000\naws_profile = \" \"",
                "backends[1].aws_profile is empty",
            ),
        ],
    );
}

#[test]
fn a_paid_backend_without_a_price_does_not_start() {
    let text =
        FILE.replace("price = ", "# price = ").replace("eu.anthropic.claude-haiku", "eu.some.new-model");
    let message = read(&text).expect_err("it costs who knows what");
    let expected =
        "file, line 13: backends[1].model is `eu.some.new-model-4-5-20251001-v1:0`, whose price is not known";
    assert!(message.starts_with(expected), "{message}");
    let free = FILE.replace("price = ", "price = { input = 0, output = 0 } # ");
    assert!(!backends(&free)[1].is_paid());
}

#[test]
fn what_is_wrong_with_an_openai_backend_is_told_with_its_line() {
    let cases = [
        (
            "api_key_env = \"NO_SUCH\"",
            "backends[2].api_key_env names `NO_SUCH`, which is no variable that is set",
        ),
        ("api_key_env = \"BLANK_KEY\"", "backends[2].api_key_env must be a key of visible ASCII"),
        ("api_key_file = \"/no/such\"", "backends[2].api_key_file names /no/such, which cannot be read"),
        (
            "headers = { Host = \"a\" }",
            "backends[2].headers.Host is given, but the protocol sets that header",
        ),
        ("headers = { x-a = \"a\\nb\" }", "backends[2].headers.x-a must be a header's value"),
        ("headers = { \"x a\" = \"a\" }", "backends[2].headers.x a is no name of a header"),
        ("ca_file = \"/no/such\"", "backends[2].ca_file names /no/such, which cannot be read as PEM"),
        ("health_interval = \"0s\"", "backends[2].health_interval is 0s"),
        (
            "api_key_env = \"UPSTREAM_KEY\"\nheaders = { authorization = \"a\" }",
            "backends[2].headers.authorization is given, but the backend's key goes there",
        ),
    ];
    for (key, expected) in cases {
        check_refused(FILE, &[("model = \"qwen\"", &format!("model = \"qwen\"\n{key}"), expected)]);
    }
    check_refused(
        FILE,
        &[
            (
                "urls = [\"http://10.0.0.7:8000/v1/\"",
                "urls = [\n  \"10.0.0.7:8000\"",
                "backends[2].urls[0] is `10.0.0.7:8000`, must be an address",
            ),
            (
                "urls = [\"http://10.0.0.7:8000/v1/\"",
                "urls = [\n\"http://a?key=b\"",
                "backends[2].urls[0] is `http://a?key=b`",
            ),
            (
                "urls = [\"http://10.0.0.7:8000/v1/\"",
                "urls = [\"http://10.0.0.8:8000/v1\"",
                "backends[2].urls[1] is `http://10.0.0.8:8000`, and so is backends[2].urls[0]",
            ),
        ],
    );
    let two = FILE.replace(
        "model = \"qwen\"",
        "model = \"qwen\"\napi_key_env = \"UPSTREAM_KEY\"\napi_key_file = \"/k\"",
    );
    let message = read(&two).expect_err("two places");
    assert!(message.starts_with("file, line 23: backends[2].api_key_env is given, but the key"), "{message}");
}

#[test]
fn a_key_in_the_file_and_prompts_in_the_clear_are_warned_of() {
    let text = FILE
        .replace(
            "boundary = \"inside\"",
            "boundary = \"outside\"\nprice = { input = 1, output = 1 }\napi_key = \"sk-1\"",
        )
        .replace("region = ", "boundary = \"inside\"\nregion = ");
    let warnings: Vec<_> = followed(&text).routing.warnings.iter().map(ToString::to_string).collect();
    let expected = [
        "backends[1].boundary is `inside`, must be outside, unless Amazon",
        "backends[2].urls[0] is `http://10.0.0.7:8000`, must be https",
        "backends[2].urls[1] is `http://10.0.0.8:8000`, must be https",
        "backends[2].api_key is given, but it is better kept elsewhere",
    ];
    assert_eq!(warnings.len(), expected.len(), "{warnings:?}");
    for (warning, expected) in warnings.iter().zip(expected) {
        assert!(warning.starts_with(expected), "{warning}");
    }
}
