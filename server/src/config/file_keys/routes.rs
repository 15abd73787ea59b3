//! What the keys of `[[routes]]` mean.

use super::{Section, key, valued};

/// Those of a route itself.
pub(super) fn routes() -> Section {
    Section {
        title: "`[[routes]]`",
        purpose: "who serves which name. Without any, the local model is served under its own names.",
        keys: vec![
            key("name", "needed", "Its name in headers, logs and metrics"),
            key("models", "its name", "Names by which clients ask for it; the first stands in answers"),
            key(
                "default_privacy",
                "`standard`; needed if a backend is outside",
                "What a request is that nobody labels: `private` stays inside whatever happens, `standard` may leave. Of key, route, header and rules the strictest word counts",
            ),
            key(
                "targets",
                "needed",
                "Backends that serve, in order of preference, which is the order of fallbacks, too. Nothing below moves a request beyond them",
            ),
            valued(
                "prefer",
                &"order",
                "Who is tried first of those that can serve: `order`, `cost`, `latency`",
            ),
            key(
                "slo_ttft",
                "none",
                "Goal for the time to the first token, as 800ms; the header `x-spillway-slo-ttft-ms` may tell another",
            ),
            key("overflow", "nowhere", "Targets that get what would miss the goal"),
            key("strong", "", "Where hard prompts go; see below"),
            key(
                "tags",
                "",
                "Targets by domain, as `{ medicine = \"sonnet\" }`; clients tell tags in `x-spillway-tags`",
            ),
            key("split", "", "Parts of a split, for comparison; see below"),
            key("shadow", "", "Who gets a copy; see below"),
            key(
                "max_cost_usd",
                "any amount",
                "Most dollars that one request may cost, as 0.25; the header `x-spillway-max-cost-usd` may tell less",
            ),
        ],
    }
}

/// Those of `strong`.
pub(super) fn strong() -> Section {
    Section {
        title: "`strong` of a route",
        purpose: "where hard prompts go.",
        keys: vec![
            key("backend", "needed", "The strong model: one of the targets"),
            key(
                "share",
                "needed without `confidence`, else 0",
                "Part of the requests that may go there by their prompts alone, 0 to 1: those that gain most",
            ),
            key(
                "confidence",
                "",
                "The second signal: how sure the local model is of its first tokens; see below",
            ),
        ],
    }
}

/// Those of `confidence`.
pub(super) fn confidence() -> Section {
    Section {
        title: "`confidence` of `strong`",
        purpose: "when the local model's own first tokens send a request to the strong one, before any byte was sent.",
        keys: vec![
            valued("hold_tokens", &16, "Tokens that are held back and judged; at most 256"),
            key(
                "min_mean_logprob",
                "needed",
                "Mean log-probability of these below which the answer is unsure, as -1.5",
            ),
            key(
                "max_entropy",
                "not looked at",
                "Entropy of the first token's distribution, in nats, above which it is unsure",
            ),
            key(
                "min_margin",
                "not looked at",
                "Margin between the two likeliest first tokens, in log-probability, below which it is unsure",
            ),
        ],
    }
}

/// Those of `split`.
pub(super) fn split() -> Section {
    Section {
        title: "a part of `split` of a route",
        purpose: "a share of the requests; a session stays in its part.",
        keys: vec![
            key("variant", "needed", "Its name in metrics and in the ledger"),
            key("backend", "needed", "The target that serves it"),
            key("weight", "needed", "Its weight among the parts; 0 gets nothing"),
        ],
    }
}

/// Those of `shadow`.
pub(super) fn shadow() -> Section {
    Section {
        title: "`shadow` of a route",
        purpose: "who gets a copy of requests, whose answers go nowhere. Private ones are never copied to the outside.",
        keys: vec![
            key("backend", "needed", "Any backend"),
            key("share", "needed", "Part of the requests that is copied, 0 to 1"),
        ],
    }
}
