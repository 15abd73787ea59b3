//! `[router]`, `[[content_rules]]`, `[[keys]]` and `[store]` as written, and what comes of them.

use std::time::Duration;

use spillway_router::{LabelSource, Privacy};
use spillway_types::Usd;

use super::*;
use crate::config::StorePlace;
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
default_privacy = "standard"
targets = ["local", "haiku"]

[router]
regions = ["eu-central-1", "eu-west-1"]
profile_prefixes = ["eu"]
max_attempts = 3
max_time = "20s"
base_delay = "50ms"
max_delay = "2s"
hedge_after = "4s"
breaker = { window = "30s", min_calls = 5, max_failure_ratio = 0.25, open_for = "7s", num_probes = 1 }
overflow_enter = 0.8
overflow_leave = 0.5
overflow_usd_per_minute = 0.5
initial_remote_ttft = "900ms"
sticky_ttl = "0s"
max_sessions = 1000
gain_model = "/etc/spillway/gain.bin"

[[content_rules]]
name = "iban"
pattern = '\b[A-Z]{2}\d{20}\b'

[[keys]]
name = "ann"
sha256 = "DIGEST"
privacy = "private"

[store]
path = "/var/lib/spillway/calls.db"
"#;

/// The file with the SHA-256 of `sk-ann`.
fn file() -> String {
    let hex = crate::config::hash_key("sk-ann").expect("it is a key");
    FILE.replace("DIGEST", &hex)
}

#[test]
fn every_key_is_followed() {
    let config = followed(&file());
    let settings = config.routing.settings;
    assert_eq!(settings.residency.regions.map(|regions| regions.len()), Some(2));
    assert_eq!(settings.residency.profile_prefixes.map(|prefixes| prefixes.len()), Some(1));
    let attempts = settings.attempts;
    assert_eq!((attempts.max_attempts, attempts.max_time), (3, Duration::from_secs(20)));
    assert_eq!(
        (attempts.base_delay, attempts.max_delay),
        (Duration::from_millis(50), Duration::from_secs(2))
    );
    assert_eq!(attempts.hedge_after, Some(Duration::from_secs(4)));
    let breaker = settings.breaker;
    assert_eq!((breaker.window, breaker.open_for), (Duration::from_secs(30), Duration::from_secs(7)));
    assert_eq!((breaker.min_calls, breaker.num_probes), (5, 1));
    assert!((breaker.max_failure_ratio - 0.25).abs() < 1e-12);
    let overflow = settings.overflow;
    assert!((overflow.enter - 0.8).abs() < 1e-12 && (overflow.leave - 0.5).abs() < 1e-12);
    assert_eq!(overflow.max_spend_per_minute, Usd::parse("0.5"));
    assert_eq!(overflow.initial_remote_ttft, Duration::from_millis(900));
    assert_eq!((settings.sticky_ttl, settings.max_sessions), (Duration::ZERO, 1000));
    assert_eq!(config.routing.gain_model, Some("/etc/spillway/gain.bin".into()));
    assert_eq!(config.store, StorePlace::File("/var/lib/spillway/calls.db".into()));
    let rules = config.routing.content_rules;
    let label = rules.label(["pay DE12345678901234567890 now"]).expect("the rule is met");
    assert_eq!(label.source, LabelSource::Rule("iban".into()));
    let keys = config.security.api_keys.expect("there is one");
    let client = keys.find(b"sk-ann").expect("it is hers");
    assert_eq!((client.name.as_deref(), client.privacy), (Some("ann"), Some(Privacy::Private)));
    assert_eq!(keys.find(b"sk-bob"), None);
}

#[test]
fn what_is_absent_has_the_routers_defaults() {
    let start = FILE.find("[router]").expect("it is there");
    let config = followed(&FILE[..start]);
    assert_eq!(config.routing.settings, RouterSettings::default());
    let lower = format!("{}[router]\noverflow_enter = 0.5\n", &FILE[..start]);
    let overflow = followed(&lower).routing.settings.overflow;
    assert!((overflow.leave - 0.5).abs() < 1e-12, "leaving never comes after entering");
}

#[test]
fn a_value_of_the_router_outside_its_range_is_told_with_its_line() {
    check_refused(
        &file(),
        &[
            (
                "regions = [\"eu-central-1\", \"eu-west-1\"]",
                "regions = [\"eu-central-1\",\n\"Ireland\"]",
                "router.regions[1] is `Ireland`, must be a region",
            ),
            (
                "regions = [\"eu-central-1\", \"eu-west-1\"]",
                "regions = []",
                "router.regions is empty, must be at least one",
            ),
            (
                "profile_prefixes = [\"eu\"]",
                "profile_prefixes = [\"eu.\"]",
                "router.profile_prefixes[0] is `eu.`, must be the prefix",
            ),
            ("max_attempts = 3", "max_attempts = 17", "router.max_attempts is 17, must be at most 16"),
            ("max_time = \"20s\"", "max_time = \"0s\"", "router.max_time is 0s"),
            (
                "max_delay = \"2s\"",
                "max_delay = \"1ms\"",
                "router.max_delay is 1ms, must be such that max_delay (1ms) is at least base_delay (50ms)",
            ),
            ("hedge_after = \"4s\"", "hedge_after = \"0s\"", "router.hedge_after is 0s"),
            ("breaker = { window = \"30s\"", "breaker = { window = \"0s\"", "router.breaker.window is 0s"),
            (
                "breaker = { window = \"30s\", min_calls = 5, max_failure_ratio = 0.25",
                "breaker = { max_failure_ratio = 0.0",
                "router.breaker.max_failure_ratio is 0, must be above 0",
            ),
            (
                "overflow_enter = 0.8",
                "overflow_enter = 2.5",
                "router.overflow_enter is 2.5, must be above 0 and at most 2",
            ),
            (
                "overflow_leave = 0.5",
                "overflow_leave = 0.9",
                "router.overflow_leave is 0.9, must be from 0 to overflow_enter, which is 0.8",
            ),
            (
                "max_sessions = 1000",
                "max_sessions = 10000001",
                "router.max_sessions is 10000001, must be at most 10000000",
            ),
        ],
    );
    let text = file().replace("profile_prefixes = [\"eu\"]", "profile_prefixes = [\"us\"]");
    let message = read(&text).expect_err("nothing could be sent there");
    assert!(message.starts_with("file, line 9: backends[0].model is `eu.anthropic"), "{message}");
    assert!(
        message.contains("whose profile is `eu`, must be of one of router.profile_prefixes"),
        "{message}"
    );
    let text = file().replace("regions = [\"eu-central-1\", ", "regions = [");
    let message = read(&text).expect_err("nothing could be sent there");
    assert!(
        message.starts_with("file, line 8: backends[0].region is `eu-central-1`, must be one of"),
        "{message}"
    );
}

#[test]
fn a_rule_a_key_or_a_place_that_cannot_be_used_is_told_with_its_line() {
    let file = file();
    let digest_line = file.lines().find(|line| line.starts_with("sha256")).expect("it is there").to_owned();
    let again = format!("{digest_line}\n[[keys]]\nname = \"bob\"\n{digest_line}");
    check_refused(
        &file,
        &[
            (
                "pattern = '\\b[A-Z]{2}\\d{20}\\b'",
                "pattern = '[A-Z'",
                "content_rules[0].pattern is `[A-Z`, must be a regular expression (unclosed character class)",
            ),
            ("name = \"iban\"", "name = \"i ban\"", "content_rules[0].name is `i ban`"),
            (
                "name = \"iban\"",
                "name = \"iban\"\npattern = 'a'\n[[content_rules]]\nname = \"iban\"",
                "content_rules[1].name is `iban`, and so is content_rules[0].name",
            ),
        ],
    );
    check_refused(
        &file,
        &[
            ("name = \"ann\"", "name = \"\"", "keys[0].name is ``"),
            (&digest_line, "sha256 = \"sk-ann\"", "keys[0].sha256 must be 64 hexadecimal digits"),
            (&digest_line, &again, "keys[1].sha256 is given, but it is the digest of keys[0], too"),
            ("path = \"/var/lib/spillway/calls.db\"", "path = \"\"", "store.path is empty"),
        ],
    );
    let memory = file.replace("path = \"/var/lib/spillway/calls.db\"", "path = \"memory\"");
    assert_eq!(followed(&memory).store, StorePlace::Memory);
}
