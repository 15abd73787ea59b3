//! What the next request is: everything that the server honours, in random mixtures, and now and then nonsense.

use std::sync::Arc;
use std::time::Duration;

use anyhow::Context as _;
use rand::Rng;
use rand::rngs::StdRng;
use rand::seq::IndexedRandom as _;
use serde_json::{Map, Value, json};
use spillway_api::fields::{Object, examples};
use spillway_tests::Client;

const CHAT: &str = "/v1/chat/completions";
const COMPLETIONS: &str = "/v1/completions";
const WORDS: [&str; 24] = [
    "river",
    "stone",
    "the",
    "and",
    "finds",
    "village",
    "because",
    "forest",
    "number",
    "paints",
    "window",
    "after",
    "music",
    "a",
    "teacher",
    "follows",
    "island",
    "caf\u{e9}",
    "\u{6c34}",
    "letter",
    "winter",
    "1234",
    "\u{1f30a}",
    "garden",
];
/// Texts that answers often hold, so that stop strings are met.
const STOPS: [&str; 8] = [".", "\n\n", " the", "river", "ing", "e", ", ", "never in any answer"];
/// Longest moment after which a client loses its patience.
const MAX_PATIENCE: Duration = Duration::from_millis(2500);

/// One request, and how its client behaves.
#[derive(Debug, Clone)]
pub(crate) struct Plan {
    pub(crate) path: &'static str,
    pub(crate) body: Body,
    pub(crate) ending: Ending,
}

/// What is sent.
#[derive(Debug, Clone)]
pub(crate) enum Body {
    /// A request for one body.
    Whole(Value),
    /// A request for a stream.
    Stream(Value),
    /// Something that must be refused with a 4xx.
    Malformed(String),
}

/// How the client leaves.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Ending {
    /// When everything is read.
    ReadAll,
    /// After this time, whatever has come until then.
    HangUpAfter(Duration),
}

/// Plans requests for one server.
#[derive(Debug, Clone)]
pub(crate) struct Planner {
    max_model_len: u32,
    token_ids: Arc<[u32]>,
}

impl Planner {
    /// Learns how long prompts may be, and some token ids.
    pub(crate) async fn learn(client: &Client) -> anyhow::Result<Self> {
        let reply = client.post("/tokenize", &json!({"prompt": WORDS.join(" ")})).await?.json();
        let ids = reply["tokens"].as_array().with_context(|| format!("no tokens in {reply}"))?;
        let token_ids = ids.iter().filter_map(|id| u32::try_from(id.as_u64()?).ok()).collect();
        let max_model_len = reply["max_model_len"].as_u64().and_then(|length| u32::try_from(length).ok());
        Ok(Self { max_model_len: max_model_len.with_context(|| format!("no length in {reply}"))?, token_ids })
    }

    /// The next request.
    pub(crate) fn next(&self, random: &mut StdRng) -> Plan {
        let ending = if random.random_ratio(1, 3) {
            Ending::HangUpAfter(random.random_range(Duration::ZERO..MAX_PATIENCE))
        } else {
            Ending::ReadAll
        };
        let path = if random.random_bool(0.5) { CHAT } else { COMPLETIONS };
        if random.random_ratio(1, 50) {
            return Plan {
                path,
                body: Body::Malformed(self.malformed(path, random)),
                ending: Ending::ReadAll,
            };
        }
        let mut body = params(random);
        add_examples(&mut body, object(path), random);
        if path == CHAT {
            body.insert("messages".to_owned(), self.messages(random));
        } else {
            body.insert("prompt".to_owned(), self.prompts(random));
        }
        let body = Value::Object(body);
        Plan {
            path,
            body: if body["stream"] == true { Body::Stream(body) } else { Body::Whole(body) },
            ending,
        }
    }

    fn messages(&self, random: &mut StdRng) -> Value {
        let mut messages = Vec::new();
        if random.random_bool(0.3) {
            messages.push(json!({"role": "system", "content": "You answer in one short sentence. Be brief and polite."}));
        }
        for _ in 0..random.random_range(0..3) {
            messages.push(json!({"role": "user", "content": self.text(random)}));
            messages.push(json!({"role": "assistant", "content": words(random, 8)}));
        }
        messages.push(json!({"role": "user", "content": [{"type": "text", "text": self.text(random)}]}));
        Value::Array(messages)
    }

    fn prompts(&self, random: &mut StdRng) -> Value {
        match random.random_range(0..4) {
            0 => (0..random.random_range(1..=3)).map(|_| self.text(random)).collect(),
            1 => self.tokens(random),
            2 => (0..random.random_range(1..=3)).map(|_| self.tokens(random)).collect(),
            _ => json!(self.text(random)),
        }
    }

    /// Mostly short; now and then about an eighth of the context, which is prefilled in chunks.
    fn text(&self, random: &mut StdRng) -> String {
        // The words have three tokens at most, on average fewer than two.
        let longest = (self.max_model_len as usize / 24).clamp(8, 400);
        let num_words =
            if random.random_ratio(1, 12) { longest } else { random.random_range(1..=30.min(longest)) };
        let prefix = if random.random_bool(0.4) {
            "Once upon a time the village by the river told a story. "
        } else {
            ""
        };
        format!("{prefix}{}", words(random, num_words))
    }

    fn tokens(&self, random: &mut StdRng) -> Value {
        let num_tokens = random.random_range(1..=40);
        (0..num_tokens).map(|_| pick(&self.token_ids, random)).collect()
    }

    fn malformed(&self, path: &str, random: &mut StdRng) -> String {
        let prompt =
            if path == CHAT { r#""messages":[{"role":"user","content":"a"}]"# } else { r#""prompt":"a""# };
        match random.random_range(0..9) {
            0 => format!("{{{prompt}"),
            1 => format!("{{{prompt},\"temprature\":1}}"),
            2 => format!("{{{prompt},\"temperature\":\"hot\"}}"),
            3 => format!("{{{prompt},\"max_tokens\":0}}"),
            4 => format!("{{{prompt},\"model\":\"no such model\"}}"),
            5 => "{\"messages\":[],\"prompt\":[]}".to_owned(),
            6 | 7 => {
                let wrong = examples(object(path)).flat_map(|example| example.wrong).collect::<Vec<_>>();
                let (fragment, _) = pick(&wrong, random);
                // The fragment's own members follow the prompt.
                format!("{{{prompt},{}", fragment.trim_start_matches('{'))
            }
            _ => json!({"prompt": vec![self.token_ids[0]; self.max_model_len as usize + 1]}).to_string(),
        }
    }
}

fn params(random: &mut StdRng) -> Map<String, Value> {
    let mut params = Map::new();
    let mut set = |name: &str, value: Value| params.insert(name.to_owned(), value);
    let longest = if random.random_ratio(1, 10) { 160 } else { 40 };
    set("max_tokens", json!(random.random_range(1..=longest)));
    set("temperature", json!(pick(&[0.0, 0.0, 0.5, 1.0, 1.7], random)));
    if random.random_bool(0.3) {
        set("top_p", json!(random.random_range(0.1..=1.0)));
    }
    if random.random_bool(0.3) {
        set("top_k", json!(random.random_range(-1..200)));
    }
    if random.random_bool(0.2) {
        set("min_p", json!(random.random_range(0.0..0.3)));
    }
    if random.random_bool(0.5) {
        set("seed", json!(random.random::<i64>()));
    }
    if random.random_bool(0.3) {
        let num_stops = random.random_range(1..=3);
        set("stop", (0..num_stops).map(|_| pick(&STOPS, random)).collect());
    }
    if random.random_bool(0.3) {
        set("n", json!(random.random_range(1..=4)));
    }
    if random.random_bool(0.3) {
        set("ignore_eos", json!(random.random_bool(0.8)));
    }
    if random.random_bool(0.3) {
        set("cache_salt", json!(pick(&["ann", "bob", "eve"], random)));
    }
    if random.random_bool(0.2) {
        set("priority", json!(pick(&["low", "normal", "high"], random)));
    }
    if random.random_bool(0.6) {
        set("stream", json!(true));
        if random.random_bool(0.5) {
            set("stream_options", json!({"include_usage": true}));
        }
    }
    params
}

fn object(path: &str) -> Object {
    if path == CHAT { Object::Chat } else { Object::Completions }
}

/// Mixes examples of the table of fields into a request, and takes out what does not go together.
fn add_examples(body: &mut Map<String, Value>, object: Object, random: &mut StdRng) {
    for example in examples(object) {
        if random.random_ratio(1, 8) {
            let fragment = serde_json::from_str(pick(example.right, random));
            let fragment: Map<String, Value> = fragment.expect("a test of the table parses every example");
            body.extend(fragment);
        }
    }
    let has = |body: &Map<String, Value>, name| body.get(name).is_some_and(|value| !value.is_null());
    if has(body, "prompt_logprobs") || has(body, "best_of") {
        body.insert("stream".to_owned(), json!(false));
    }
    if body.get("stream") != Some(&json!(true)) {
        body.remove("stream_options");
    }
    if has(body, "best_of") {
        body.insert("n".to_owned(), json!(2));
    }
    if has(body, "max_completion_tokens") {
        body.remove("max_tokens");
    }
    let most = body.get("max_tokens").or(body.get("max_completion_tokens")).and_then(Value::as_u64);
    if has(body, "min_tokens") && most.is_some_and(|most| most < 3) {
        body.remove("min_tokens");
    }
}

fn words(random: &mut StdRng, num_words: usize) -> String {
    let picked: Vec<&str> = (0..num_words).map(|_| pick(&WORDS, random)).collect();
    picked.join(" ")
}

fn pick<T: Copy>(from: &[T], random: &mut StdRng) -> T {
    *from.choose(random).expect("there is something to pick from")
}
