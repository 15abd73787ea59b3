//! `spillway route explain`: what would be decided about the requests of a file, by a running server or by a config
//! file alone. Nothing is served.

use std::fmt::Write as _;
use std::fs;
use std::path::Path;
use std::time::Duration;

use anyhow::{Context, bail, ensure};
use axum::body::Bytes;
use axum::http::{HeaderMap, HeaderName, HeaderValue, StatusCode, header};
use reqwest::Client;
use serde_json::Value;
use spillway_api::openai::ErrorBody;
use spillway_api::route::{ExplainedCandidate, RouteExplanation};

use crate::app::runtime;
use crate::config::{ExplainedBy, RouteExplain};
use dry_run::DryRun;

mod dry_run;

/// Where decisions are asked for.
const PATH: &str = "/admin/route/explain";

/// Longest wait for one explanation.
const TIMEOUT: Duration = Duration::from_secs(30);

/// Asks about every request of the file, and prints the answers.
pub(super) fn run(options: &RouteExplain) -> anyhow::Result<()> {
    let requests = read_requests(&options.file)?;
    let headers = headers(options)?;
    let runtime = runtime()?;
    let asker = Asker::new(options, &runtime)?;
    let mut explanations = Vec::with_capacity(requests.len());
    for (request, number) in requests.iter().zip(1..) {
        let explained = runtime.block_on(asker.ask(request, &headers));
        let explained = explained.with_context(|| format!("request {number}"))?;
        if !options.json {
            print!("request {number}: {}", told(&explained));
        }
        explanations.push(explained);
    }
    if options.json {
        println!("{}", serde_json::to_string_pretty(&explanations)?);
    }
    if let Asker::Config(dry_run) = asker {
        runtime.block_on(dry_run.end());
    }
    Ok(())
}

/// One request, or one a line.
fn read_requests(path: &Path) -> anyhow::Result<Vec<Value>> {
    let name = path.display();
    let text = fs::read_to_string(path).with_context(|| format!("`{name}` cannot be read"))?;
    if let Ok(request) = serde_json::from_str(&text) {
        return Ok(vec![request]);
    }
    let lines = text.lines().zip(1..).filter(|(line, _)| !line.trim().is_empty());
    let read =
        |(line, number)| serde_json::from_str(line).with_context(|| format!("`{name}`, line {number}"));
    let requests: Vec<Value> = lines.map(read).collect::<anyhow::Result<_>>()?;
    ensure!(!requests.is_empty(), "`{name}` holds no request");
    Ok(requests)
}

/// What the requests say of their route beside their bodies.
fn headers(options: &RouteExplain) -> anyhow::Result<HeaderMap> {
    let key = options.api_key_file.as_deref().map(first_key).transpose()?;
    let key = key.map(|key| format!("Bearer {key}"));
    let mut headers = HeaderMap::new();
    for (name, value) in [
        ("authorization", &key),
        ("x-spillway-privacy", &options.privacy),
        ("x-spillway-max-cost-usd", &options.max_cost_usd),
        ("x-spillway-slo-ttft-ms", &options.slo_ttft_ms),
        ("x-spillway-session", &options.session),
        ("x-spillway-tags", &options.tags),
    ] {
        if let Some(value) = value {
            let value = HeaderValue::try_from(value).with_context(|| format!("{name} cannot be sent"))?;
            headers.insert(HeaderName::from_static(name), value);
        }
    }
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/json"));
    Ok(headers)
}

/// Who is asked.
enum Asker {
    /// A server, over HTTP.
    Server { http: Client, url: String },
    /// The service that a server of a config file would have.
    Config(DryRun),
}

impl Asker {
    fn new(options: &RouteExplain, runtime: &tokio::runtime::Runtime) -> anyhow::Result<Self> {
        match &options.by {
            ExplainedBy::Server { url } => {
                let http = Client::builder().timeout(TIMEOUT).no_proxy().build()?;
                Ok(Self::Server { http, url: format!("{}{PATH}", url.trim_end_matches('/')) })
            }
            ExplainedBy::Config(config) => Ok(Self::Config(DryRun::new(config, runtime)?)),
        }
    }

    async fn ask(&self, request: &Value, headers: &HeaderMap) -> anyhow::Result<RouteExplanation> {
        let body = serde_json::to_vec(request)?;
        let (status, body) = match self {
            Self::Server { http, url } => {
                let asked = http.post(url).headers(headers.clone()).body(body);
                let answer = asked.send().await.with_context(|| format!("{url} does not answer"))?;
                (answer.status(), answer.bytes().await?)
            }
            Self::Config(dry_run) => dry_run.ask(PATH, headers, body).await?,
        };
        read_answer(status, &body)
    }
}

fn read_answer(status: StatusCode, body: &Bytes) -> anyhow::Result<RouteExplanation> {
    if status == StatusCode::OK {
        return serde_json::from_slice(body).context("the answer is no explanation");
    }
    match serde_json::from_slice::<ErrorBody>(body) {
        Ok(refused) => bail!("{status}: {}", refused.error.message),
        Err(_) => bail!("{status}"),
    }
}

fn first_key(path: &Path) -> anyhow::Result<String> {
    let name = path.display();
    let text = fs::read_to_string(path).with_context(|| format!("--api-key-file {name} cannot be read"))?;
    let key = text.lines().map(str::trim).find(|line| !line.is_empty() && !line.starts_with('#'));
    key.map(str::to_owned).with_context(|| format!("--api-key-file {name} holds no key"))
}

/// An explanation for people: one line on the request, one on each target.
fn told(explained: &RouteExplanation) -> String {
    let mut text = String::new();
    // Writing to a string does not fail.
    let _ = match &explained.reason {
        Some(reason) => write!(text, "{} ({reason})", explained.plan.join(", then ")),
        None => write!(text, "nobody can serve it"),
    };
    let route = explained.route.as_deref().unwrap_or("-");
    let _ = write!(text, "; route {route}, {} ({} says so)", explained.privacy, explained.privacy_said_by);
    let needs = &explained.needs;
    let _ = write!(text, ", about {} prompt tokens", needs.prompt_tokens);
    if let (Some(gain), Some(threshold)) = (explained.gain, explained.gain_threshold) {
        let _ = write!(text, ", gain {gain:.3} of {threshold:.3}");
    }
    text.push('\n');
    for candidate in &explained.candidates {
        let _ = writeln!(text, "  {}: {}", candidate.backend, judged(candidate));
    }
    text
}

fn judged(candidate: &ExplainedCandidate) -> String {
    let Some(score) = candidate.score else {
        let reasons: Vec<&str> = candidate.excluded.iter().map(|reason| reason.message.as_str()).collect();
        return reasons.join("; ");
    };
    let ttft = score.ttft_ms.map_or("unknown".to_owned(), |ttft| format!("{ttft:.0} ms"));
    let mut text = format!("can; first token {ttft}, at most {} dollars", score.cost_usd);
    if score.needs_preemption {
        text.push_str(", no room in its cache now");
    }
    if score.looks_too_long {
        text.push_str(", looks too long for it");
    }
    text
}

#[cfg(test)]
mod tests {
    use spillway_api::route::{ExplainedExclusion, ExplainedNeeds, ExplainedScore};

    use super::*;

    fn candidate(backend: &str, score: Option<ExplainedScore>) -> ExplainedCandidate {
        let private = || ExplainedExclusion { code: "private".to_owned(), message: "is outside".to_owned() };
        let excluded = score.is_none().then(private).into_iter().collect();
        ExplainedCandidate { backend: backend.to_owned(), model: None, excluded, score }
    }

    fn explanation(reason: Option<&str>, candidates: Vec<ExplainedCandidate>) -> RouteExplanation {
        RouteExplanation {
            route: Some("chat".to_owned()),
            privacy: "private".to_owned(),
            privacy_said_by: "key ward 7".to_owned(),
            reason: reason.map(str::to_owned),
            plan: reason.map(|_| "local".to_owned()).into_iter().collect(),
            variant: None,
            gain: None,
            gain_threshold: None,
            slo_ttft_ms: None,
            needs: ExplainedNeeds { features: Vec::new(), prompt_tokens: 5, max_tokens: None },
            candidates,
        }
    }

    #[test]
    fn a_line_says_who_would_serve_and_one_each_why_or_why_not() {
        let score = ExplainedScore {
            ttft_ms: Some(41.6),
            needs_preemption: true,
            cost_usd: 0.0,
            looks_too_long: false,
        };
        let candidates = vec![candidate("local", Some(score)), candidate("bedrock", None)];
        assert_eq!(
            told(&explanation(Some("preferred"), candidates)),
            "local (preferred); route chat, private (key ward 7 says so), about 5 prompt tokens\n  \
             local: can; first token 42 ms, at most 0 dollars, no room in its cache now\n  bedrock: is outside\n"
        );
        assert!(told(&explanation(None, Vec::new())).starts_with("nobody can serve it; route chat, "));
    }

    #[test]
    fn a_file_holds_one_request_or_one_a_line() {
        let file = tempfile::NamedTempFile::new().expect("a file");
        for (text, expected) in [
            ("{\n\"prompt\": \"a\"\n}", Some(1)),
            ("{\"a\": 1}\n\n{\"b\": 2}\n", Some(2)),
            ("", None),
            ("{\n", None),
        ] {
            fs::write(file.path(), text).expect("it can be written");
            assert_eq!(read_requests(file.path()).ok().map(|requests| requests.len()), expected, "{text}");
        }
    }
}
