//! What each key means that only the file has. The README's tables are made of this; a test holds it against the keys
//! that are read.

use std::fmt::Write;

use spillway_router::RouterSettings;

use super::{TimeSpan, Timeouts};

mod backends;
mod routes;

/// The keys of one table of the file.
struct Section {
    /// How it is written.
    title: &'static str,
    /// What it is for.
    purpose: &'static str,
    keys: Vec<Key>,
}

/// One key.
struct Key {
    name: &'static str,
    /// What holds if it is absent; empty if nothing does, `needed` if it may not be.
    default: String,
    meaning: &'static str,
}

/// A key whose default is a word, or nothing.
fn key(name: &'static str, default: &str, meaning: &'static str) -> Key {
    Key { name, default: default.to_owned(), meaning }
}

/// A key whose default is a value.
fn valued(name: &'static str, default: &dyn std::fmt::Display, meaning: &'static str) -> Key {
    Key { name, default: format!("`{default}`"), meaning }
}

/// The keys that only the file has as Markdown tables, one for each section.
pub fn file_keys_markdown() -> String {
    let mut text = String::new();
    for section in sections() {
        let _ = write!(text, "\n**{}**: {}\n\n", section.title, section.purpose);
        text.push_str("| Key | Default | Meaning |\n|---|---|---|\n");
        for Key { name, default, meaning } in section.keys {
            let _ = writeln!(text, "| `{name}` | {default} | {} |", meaning.replace('|', "\\|"));
        }
    }
    text.trim_start().to_owned()
}

fn sections() -> Vec<Section> {
    let timeouts = Timeouts::default();
    let settings = RouterSettings::default();
    let mut sections = vec![
        backends::common(&timeouts),
        backends::price(),
        backends::bedrock(),
        backends::openai(),
        routes::routes(),
        routes::strong(),
        routes::confidence(),
        routes::split(),
        routes::shadow(),
    ];
    sections.extend([router(&settings), breaker(&settings), content_rules(), keys(), store(), prices()]);
    sections
}

fn router(settings: &RouterSettings) -> Section {
    let span = |span| TimeSpan::from(span);
    let (attempts, overflow) = (&settings.attempts, &settings.overflow);
    Section {
        title: "`[router]`",
        purpose: "what holds for all routes.",
        keys: vec![
            key("regions", "any", "Regions of AWS that may be asked, as `[\"eu-central-1\"]`"),
            key(
                "profile_prefixes",
                "any",
                "Prefixes of inference profiles that may be used, as `[\"eu\"]`; `global` may compute anywhere",
            ),
            valued(
                "max_attempts",
                &attempts.max_attempts,
                "Attempts at all backends together, the first one included; at most 16",
            ),
            valued(
                "max_time",
                &span(attempts.max_time),
                "Time from the first attempt after which no other begins",
            ),
            valued(
                "base_delay",
                &span(attempts.base_delay),
                "Longest wait before the first retry; it doubles with each, and is drawn evenly from zero to there",
            ),
            valued(
                "max_delay",
                &span(attempts.max_delay),
                "Longest wait before any retry; a server that asks for a longer one is not asked again",
            ),
            key(
                "hedge_after",
                "never",
                "Time without a first token after which a second backend is asked, too",
            ),
            key("breaker", "", "When a backend is left alone; see below"),
            valued(
                "overflow_enter",
                &overflow.enter,
                "Part of the goal that the forecast reaches when overflowing begins; at most 2",
            ),
            valued(
                "overflow_leave",
                &overflow.leave,
                "Part of the goal below which it ends; at most `overflow_enter`",
            ),
            key("overflow_usd_per_minute", "any amount", "Most dollars that overflow may spend a minute"),
            valued(
                "initial_remote_ttft",
                &span(overflow.initial_remote_ttft),
                "What is thought of a remote backend's time to its first token before one was measured",
            ),
            valued(
                "sticky_ttl",
                &span(settings.sticky_ttl),
                "Time for which a session stays where it was served; 0s: nothing sticks",
            ),
            valued("max_sessions", &settings.max_sessions, "Sessions that are remembered"),
            key(
                "gain_model",
                "the one in the binary",
                "File of a gain model that `spillway route train` has made",
            ),
        ],
    }
}

fn breaker(settings: &RouterSettings) -> Section {
    let breaker = &settings.breaker;
    Section {
        title: "`breaker` of `[router]`",
        purpose: "when a backend is left alone.",
        keys: vec![
            valued("window", &TimeSpan::from(breaker.window), "Time over which calls are counted"),
            valued("min_calls", &breaker.min_calls, "Calls in it below which nothing is concluded"),
            valued(
                "max_failure_ratio",
                &breaker.max_failure_ratio,
                "Part of them that may fail; above 0, at most 1",
            ),
            valued(
                "open_for",
                &TimeSpan::from(breaker.open_for),
                "Time for which the backend is left alone before it is tried again",
            ),
            valued(
                "num_probes",
                &breaker.num_probes,
                "Tries that must go well, one after the other, before it gets everything again",
            ),
        ],
    }
}

fn content_rules() -> Section {
    Section {
        title: "`[[content_rules]]`",
        purpose: "what makes a request private by what it says, whatever its key, its route and its header say.",
        keys: vec![
            key("name", "needed", "Its name, which the decision shows"),
            key("pattern", "needed", "Regular expression, looked for in the text of every message"),
        ],
    }
}

fn keys() -> Section {
    Section {
        title: "`[[keys]]`",
        purpose: "clients with names. They count together with the keys of `[security]`, which have none.",
        keys: vec![
            key("name", "needed", "Its name in logs, metrics and the ledger"),
            key(
                "sha256",
                "needed",
                "SHA-256 of the key in hexadecimal digits, as `spillway key hash` prints it; the key itself stands nowhere",
            ),
            key("privacy", "", "`private`: its requests never leave, whatever else is said of them"),
        ],
    }
}

fn store() -> Section {
    Section {
        title: "`[store]`",
        purpose: "where calls and their costs are kept.",
        keys: vec![key(
            "path",
            "`spillway.db` in the state folder if a backend costs money, else `memory`",
            "A file of this server alone, or `memory`. The state folder is `$SPILLWAY_STATE`, `$XDG_STATE_HOME/spillway` or `~/.local/state/spillway`",
        )],
    }
}

fn prices() -> Section {
    Section {
        title: "`[prices]`",
        purpose: "what models cost.",
        keys: vec![key(
            "file",
            "",
            "JSON file whose prices are added to the table in the binary, or take the place of its entries",
        )],
    }
}

#[cfg(test)]
mod tests;
