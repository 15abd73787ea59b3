//! `[[routes]]` as written, and what comes of them.

use std::time::Duration;

use spillway_router::{Confidence, VariantId};
use spillway_types::Usd;

use super::*;
use crate::config::source::tests::{check_refused, followed, read};

const FILE: &str = r#"
[model]
model = "demo"

[[backends]]
name = "haiku"
type = "bedrock"
region = "eu-central-1"
model = "eu.anthropic.claude-haiku-4-5-20251001-v1:0"
price = { input = 1.1, output = 5.5 }

[[routes]]
name = "chat"
models = ["chat", "gpt-4o-mini"]
default_privacy = "standard"
targets = ["local", "haiku"]
prefer = "cost"
slo_ttft = "800ms"
overflow = ["haiku"]
strong = { backend = "haiku", share = 0.2, confidence = { min_mean_logprob = -1.5 } }
tags = { medicine = "haiku" }
split = [{ variant = "a", backend = "local", weight = 9 }, { variant = "b", backend = "haiku", weight = 1 }]
shadow = { backend = "haiku", share = 0.05 }
max_cost_usd = 0.25

[[routes]]
name = "inside"
default_privacy = "private"
targets = ["local"]
"#;

#[test]
fn every_key_is_followed() {
    let routes = followed(FILE).routing.routes;
    let haiku = || BackendId::new("haiku");
    let confidence =
        Confidence { hold_tokens: 16, min_mean_logprob: -1.5, max_entropy: None, min_margin: None };
    let part = |variant: &str, backend: &str, weight| spillway_router::SplitPart {
        variant: VariantId::new(variant),
        backend: BackendId::new(backend),
        weight,
    };
    let expected = Route {
        id: RouteId::new("chat"),
        models: vec![ModelId::new("chat"), ModelId::new("gpt-4o-mini")],
        default_privacy: Privacy::Standard,
        targets: vec![BackendId::new("local"), haiku()],
        preference: Preference::Cost,
        slo_ttft: Some(Duration::from_millis(800)),
        overflow: vec![haiku()],
        hard: Some(spillway_router::HardPrompts {
            strong: haiku(),
            share: 0.2,
            confidence: Some(confidence),
        }),
        tags: vec![("medicine".into(), haiku())],
        split: vec![part("a", "local", 9), part("b", "haiku", 1)],
        shadow: Some(spillway_router::Shadow { backend: haiku(), share: 0.05 }),
        max_cost: Usd::parse("0.25"),
    };
    assert_eq!(routes[0], expected);
    assert_eq!(routes[1].models, [ModelId::new("inside")], "its own name, if it has no other");
    assert_eq!((routes[1].default_privacy, routes[1].overflow.len()), (Privacy::Private, 0));
}

#[test]
fn a_route_without_a_default_does_not_start_where_something_is_outside() {
    for (text, line) in [
        (FILE.replace("default_privacy = \"standard\"\n", ""), 12),
        (FILE.replace("default_privacy = \"private\"\n", ""), 26),
    ] {
        let message = read(&text).expect_err("nobody says what a request is");
        let expected = format!("file, line {line}: routes[");
        assert!(message.starts_with(&expected), "{message}");
        assert!(message.contains("].default_privacy is missing: backend `haiku` is outside"), "{message}");
    }
    let start = FILE.find("[[routes]]").expect("it is there");
    let message = read(&FILE[..start]).expect_err("there are no routes");
    assert!(message.starts_with("file: routes is missing: add [[routes]]"), "{message}");
    let inside = "[model]\nmodel = \"demo\"\n[[routes]]\nname = \"r\"\ntargets = [\"local\"]\n";
    assert_eq!(followed(inside).routing.routes[0].default_privacy, Privacy::Standard);
}

#[test]
fn a_name_that_nothing_has_is_told_with_its_line() {
    let no_backend = "which is no backend: there are `haiku`, `local`";
    let no_target = "which is no target of the route: the route has `local`, `haiku`";
    let extra = FILE.replace(
        "[[routes]]\nname = \"chat\"",
        "[[backends]]\nname = \"other\"\ntype = \"openai\"\nboundary = \"inside\"\nmodel = \"m\"\nurls = [\"http://a\"]\n\n[[routes]]\nname = \"chat\"",
    );
    check_refused(
        FILE,
        &[
            (
                "targets = [\"local\", \"haiku\"]",
                "targets = [\n\"local\",\n\"opus\"]",
                &format!("routes[0].targets[1] names `opus`, {no_backend}"),
            ),
            (
                "overflow = [\"haiku\"]",
                "overflow = [\"opus\"]",
                &format!("routes[0].overflow[0] names `opus`, {no_backend}"),
            ),
            (
                "strong = { backend = \"haiku\"",
                "strong = { backend = \"opus\"",
                "routes[0].strong.backend names `opus`",
            ),
            (
                "tags = { medicine = \"haiku\" }",
                "tags = { medicine = \"opus\" }",
                "routes[0].tags.medicine names `opus`",
            ),
            (
                "split = [{ variant = \"a\", backend = \"local\"",
                "split = [{ variant = \"a\", backend = \"opus\"",
                "routes[0].split[0].backend names `opus`",
            ),
            (
                "shadow = { backend = \"haiku\"",
                "shadow = { backend = \"opus\"",
                "routes[0].shadow.backend names `opus`",
            ),
        ],
    );
    check_refused(
        &extra,
        &[
            (
                "overflow = [\"haiku\"]",
                "overflow = [\"other\"]",
                &format!("routes[0].overflow[0] names `other`, {no_target}"),
            ),
            (
                "strong = { backend = \"haiku\"",
                "strong = { backend = \"other\"",
                "routes[0].strong.backend names `other`, which is no target",
            ),
            (
                "tags = { medicine = \"haiku\" }",
                "tags = { medicine = \"other\" }",
                "routes[0].tags.medicine names `other`, which is no target",
            ),
            (
                "split = [{ variant = \"a\", backend = \"local\"",
                "split = [{ variant = \"a\", backend = \"other\"",
                "routes[0].split[0].backend names `other`, which is no target",
            ),
        ],
    );
    let shadowed = extra.replace("shadow = { backend = \"haiku\"", "shadow = { backend = \"other\"");
    assert!(followed(&shadowed).routing.warnings.is_empty(), "a copy may go to anyone");
}

#[test]
fn a_name_that_is_there_twice_is_told_with_both_places() {
    check_refused(
        FILE,
        &[
            ("name = \"inside\"", "name = \"chat\"", "routes[1].name is `chat`, and so is routes[0].name"),
            (
                "name = \"inside\"",
                "name = \"inside\"\nmodels = [\"x\",\n\"gpt-4o-mini\"]",
                "routes[1].models[1] is `gpt-4o-mini`, and so is routes[0].models[1]",
            ),
            (
                "models = [\"chat\", \"gpt-4o-mini\"]",
                "models = [\"chat\", \"chat\"]",
                "routes[0].models[1] is `chat`, and so is routes[0].models[0]",
            ),
            (
                "targets = [\"local\", \"haiku\"]",
                "targets = [\"local\", \"haiku\", \"local\"]",
                "routes[0].targets[2] is `local`, and so is routes[0].targets[0]",
            ),
            (
                "overflow = [\"haiku\"]",
                "overflow = [\"haiku\", \"haiku\"]",
                "routes[0].overflow[1] is `haiku`",
            ),
            (
                "split = [{ variant = \"a\"",
                "split = [{ variant = \"b\"",
                "routes[0].split[1].variant is `b`, and so is routes[0].split[0].variant",
            ),
        ],
    );
}

#[test]
fn a_value_outside_its_range_is_told_with_its_line() {
    let strong = "strong = { backend = \"haiku\", share = 0.2, confidence = { min_mean_logprob = -1.5 } }";
    check_refused(
        FILE,
        &[
            ("name = \"chat\"", "name = \"\"", "routes[0].name is ``, must be 1 to 64 letters"),
            (
                "models = [\"chat\", \"gpt-4o-mini\"]",
                "models = []",
                "routes[0].models is 0 long, must be 1 to 64 names",
            ),
            (
                "models = [\"chat\", \"gpt-4o-mini\"]",
                "models = [\"\"]",
                "routes[0].models[0] is 0 bytes long",
            ),
            (
                "targets = [\"local\", \"haiku\"]",
                "targets = []",
                "routes[0].targets is missing: name the backends",
            ),
            ("slo_ttft = \"800ms\"", "slo_ttft = \"0s\"", "routes[0].slo_ttft is 0s, must be longer than 0s"),
            (
                "shadow = { backend = \"haiku\", share = 0.05 }",
                "shadow = { backend = \"haiku\", share = 1.5 }",
                "routes[0].shadow.share is 1.5, must be a part of 1",
            ),
            (
                "shadow = { backend = \"haiku\", share = 0.05 }",
                "shadow = { backend = \"haiku\" }",
                "routes[0].shadow.share is missing",
            ),
            (
                "shadow = { backend = \"haiku\", share = 0.05 }",
                "shadow = { share = 0.05 }",
                "routes[0].shadow.backend is missing",
            ),
            (
                "weight = 9 }, { variant = \"b\", backend = \"haiku\", weight = 1 }",
                "weight = 0 }",
                "routes[0].split is 0 in all its weights",
            ),
            ("weight = 9 }", "}", "routes[0].split[0].weight is missing"),
            (
                "tags = { medicine = \"haiku\" }",
                "tags = { \"a,b\" = \"haiku\" }",
                "routes[0].tags.a,b is a tag of 3 bytes",
            ),
            (strong, "strong = { share = 0.2 }", "routes[0].strong.backend is missing"),
            (strong, "strong = { backend = \"haiku\" }", "routes[0].strong.share is missing"),
            (strong, "strong = { backend = \"haiku\", share = -0.1 }", "routes[0].strong.share is -0.1"),
            (strong, "strong = { backend = \"haiku\", share = nan }", "routes[0].strong.share is NaN"),
            (
                strong,
                "strong = { backend = \"local\", share = 0.1, confidence = {} }",
                "routes[0].strong.confidence is given, but no target but the strong one is local",
            ),
            (
                "confidence = { min_mean_logprob = -1.5 }",
                "confidence = { max_entropy = 1.0 }",
                "routes[0].strong.confidence.min_mean_logprob is missing",
            ),
            (
                "{ min_mean_logprob = -1.5 }",
                "{ min_mean_logprob = 1.5 }",
                "routes[0].strong.confidence.min_mean_logprob is 1.5, must be at most 0",
            ),
            (
                "{ min_mean_logprob = -1.5 }",
                "{ min_mean_logprob = -1, hold_tokens = 999 }",
                "routes[0].strong.confidence.hold_tokens is 999, must be at most 256",
            ),
            (
                "{ min_mean_logprob = -1.5 }",
                "{ min_mean_logprob = -1, max_entropy = -1 }",
                "routes[0].strong.confidence.max_entropy is -1",
            ),
            (
                "{ min_mean_logprob = -1.5 }",
                "{ min_mean_logprob = -1, min_margin = inf }",
                "routes[0].strong.confidence.min_margin is inf",
            ),
        ],
    );
    let only_outside = FILE.replace("targets = [\"local\"]\n", "targets = [\"haiku\"]\n");
    let message = read(&only_outside).expect_err("nothing could be served");
    assert!(
        message.starts_with("file, line 28: routes[1].default_privacy is `private`, must be standard, or"),
        "{message}"
    );
}

#[test]
fn what_is_likely_a_mistake_is_warned_of() {
    let text = FILE
        .replace("default_privacy = \"standard\"", "default_privacy = \"private\"")
        .replace("[[routes]]\nname = \"inside\"", "[[backends]]\nname = \"idle\"\ntype = \"openai\"\nboundary = \"inside\"\nmodel = \"m\"\nurls = [\"http://a\"]\n\n[[routes]]\nname = \"inside\"");
    let warnings: Vec<_> = followed(&text).routing.warnings.iter().map(ToString::to_string).collect();
    let expected = [
        "routes[0].shadow.backend is `haiku`, must be inside",
        "backends[1].name is `idle`, must be among the targets of a route",
    ];
    assert_eq!(warnings.len(), expected.len(), "{warnings:?}");
    for (warning, expected) in warnings.iter().zip(expected) {
        assert!(warning.starts_with(expected), "{warning}");
    }
}
