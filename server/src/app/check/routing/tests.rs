//! What people read of backends and routes.

use super::*;
use crate::config::ConfigSource;

const FILE: &str = r#"
[model]
model = "demo"

[[backends]]
name = "haiku"
type = "bedrock"
region = "eu-central-1"
model = "eu.anthropic.claude-haiku-4-5-20251001-v1:0"
price = { input = 1.1, output = 5.5 }
context_tokens = 200000

[[backends]]
name = "peers"
type = "openai"
boundary = "inside"
model = "qwen"
urls = ["http://10.0.0.7:8000", "http://10.0.0.8:8000"]

[[routes]]
name = "chat"
models = ["chat", "small"]
default_privacy = "standard"
targets = ["local", "peers", "haiku"]
slo_ttft = "800ms"
overflow = ["haiku"]
strong = { backend = "haiku", share = 0.2, confidence = { min_mean_logprob = -1.5 } }
tags = { medicine = "haiku" }
split = [{ variant = "a", backend = "local", weight = 9 }, { variant = "b", backend = "peers", weight = 1 }]
shadow = { backend = "haiku", share = 0.125 }
max_cost_usd = 0.25

[[routes]]
name = "inside"
default_privacy = "private"
targets = ["local"]

[store]
path = "memory"
"#;

const TABLES: &str = "\
backends
  name   type     boundary  model                                                        $ a million in / out  context
  haiku  bedrock  outside   eu.anthropic.claude-haiku-4-5-20251001-v1:0 at eu-central-1  1.1 / 5.5             200000
  peers  openai   inside    qwen at http://10.0.0.7:8000 and 1 more                      free                  not told
  local  local    inside    demo                                                         free                  8192

routes
  name    asked for as  unlabelled is  targets                what moves requests
  chat    chat, small   standard       local > peers > haiku  first token later than 800ms to haiku
                                                              the hardest 20 %, and unsure answers, to haiku
                                                              tag medicine to haiku
                                                              split 9 a to local, 1 b to peers
                                                              12.5 % copied to haiku
                                                              at most 0.25 $ a request
  inside  inside        private        local                  failures only

calls are kept in memory, as long as the server runs

";

fn config() -> ServeConfig {
    let file = tempfile::NamedTempFile::new().expect("a temporary file");
    std::fs::write(file.path(), FILE).expect("it can be written");
    ConfigSource::without_flags(file.path()).read().expect("it can be followed")
}

const LOCAL: LocalModel<'_> = LocalModel { name: "demo", context_tokens: Some(8192) };

#[test]
fn people_read_tables() {
    assert_eq!(text(&config(), Some(&LOCAL)), TABLES);
}

#[test]
fn programs_read_every_value() {
    let report = report(&config(), Some(&LOCAL));
    assert_eq!(report["backends"][0]["usd_per_million_tokens"]["output"], "5.5");
    assert_eq!(report["backends"][1]["places"][1], "http://10.0.0.8:8000");
    assert_eq!(report["backends"][2]["context_tokens"], 8192);
    assert_eq!(report["routes"][0]["targets"][2], "haiku");
    assert_eq!(report["routes"][1]["default_privacy"], "private");
    assert_eq!(report["calls_are_kept_in"], "memory, as long as the server runs");
}
