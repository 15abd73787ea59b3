//! The tables of `spillway check`: who can serve, who serves which name, and what moves requests.
//!
//! Nobody is asked whether he is there: the check needs no network and spends nothing.

use std::fmt::Write;

use serde_json::{Value, json};
use spillway_router::{HardPrompts, Preference, Route};
use spillway_types::TokenPrices;

use crate::config::{BackendConfig, BackendKind, RoutingConfig, ServeConfig, StorePlace, TimeSpan};

/// What the engine's part of the check has found out of the local model.
pub(super) struct LocalModel<'a> {
    /// Its name for clients.
    pub(super) name: &'a str,
    /// Tokens of prompt and answer together, if the model could be read.
    pub(super) context_tokens: Option<u64>,
}

/// Backends, routes and warnings as values.
pub(super) fn report(config: &ServeConfig, local: Option<&LocalModel<'_>>) -> Value {
    let routing = &config.routing;
    json!({
        "backends": routing.backends.iter().map(|backend| backend_value(backend, local)).collect::<Vec<_>>(),
        "routes": routing.routes.iter().map(route_value).collect::<Vec<_>>(),
        "calls_are_kept_in": store(&config.store),
        "warnings": routing.warnings.iter().map(ToString::to_string).collect::<Vec<_>>(),
    })
}

/// The same for people.
pub(super) fn text(config: &ServeConfig, local: Option<&LocalModel<'_>>) -> String {
    let routing = &config.routing;
    let mut text = String::from("backends\n");
    text.push_str(&table(
        ["name", "type", "boundary", "model", "$ a million in / out", "context"],
        routing.backends.iter().map(|backend| backend_row(backend, local)),
    ));
    text.push_str("\nroutes\n");
    text.push_str(&table(
        ["name", "asked for as", "unlabelled is", "targets", "what moves requests"],
        routing.routes.iter().flat_map(route_rows),
    ));
    let _ = writeln!(text, "\ncalls are kept in {}", store(&config.store));
    warnings(routing, &mut text);
    text.push('\n');
    text
}

fn warnings(routing: &RoutingConfig, text: &mut String) {
    if routing.warnings.is_empty() {
        return;
    }
    text.push_str("\nwarnings\n");
    for warning in &routing.warnings {
        let _ = writeln!(text, "  {warning}");
    }
}

fn store(place: &StorePlace) -> String {
    match place {
        StorePlace::Memory => "memory, as long as the server runs".to_owned(),
        StorePlace::File(path) => path.display().to_string(),
    }
}

fn backend_value(backend: &BackendConfig, local: Option<&LocalModel<'_>>) -> Value {
    let terms = backend.terms();
    let dollars = |prices: &TokenPrices| {
        json!({
            "input": prices.input.to_string(),
            "output": prices.output.to_string(),
            "cache_read": prices.cache_read.map(|price| price.to_string()),
            "cache_write": prices.cache_write.map(|price| price.to_string()),
        })
    };
    json!({
        "name": backend.id.as_str(),
        "type": backend.kind_name(),
        "boundary": backend.boundary.as_str(),
        "model": model(backend, local),
        "places": places(backend),
        "usd_per_million_tokens": terms.map(|terms| dollars(&terms.prices)),
        "prices_from": terms.map(|terms| terms.price_origin.to_string()),
        "context_tokens": context(backend, local),
    })
}

fn backend_row(backend: &BackendConfig, local: Option<&LocalModel<'_>>) -> [String; 6] {
    let price = match backend.terms().map(|terms| &terms.prices) {
        Some(prices) if !prices.is_free() => format!("{} / {}", prices.input, prices.output),
        _ => "free".to_owned(),
    };
    let places = places(backend);
    let place = match places.as_slice() {
        [] => String::new(),
        [place] => format!(" at {place}"),
        [place, rest @ ..] => format!(" at {place} and {} more", rest.len()),
    };
    [
        backend.id.to_string(),
        backend.kind_name().to_owned(),
        backend.boundary.as_str().to_owned(),
        model(backend, local) + &place,
        price,
        context(backend, local).map_or_else(|| "not told".to_owned(), |tokens| tokens.to_string()),
    ]
}

fn model(backend: &BackendConfig, local: Option<&LocalModel<'_>>) -> String {
    let own = || local.map_or_else(String::new, |local| local.name.to_owned());
    backend.model().map_or_else(own, ToString::to_string)
}

fn context(backend: &BackendConfig, local: Option<&LocalModel<'_>>) -> Option<u64> {
    match backend.terms() {
        Some(terms) => terms.context_tokens.map(|tokens| u64::from(tokens.get())),
        None => local.and_then(|local| local.context_tokens),
    }
}

/// Where a backend is asked.
fn places(backend: &BackendConfig) -> Vec<String> {
    match &backend.kind {
        BackendKind::Local => Vec::new(),
        BackendKind::Bedrock(settings) => {
            let region = settings.region.to_string();
            vec![settings.endpoint_url.as_ref().map_or(region.clone(), |url| format!("{url} as {region}"))]
        }
        BackendKind::OpenAi(settings) => settings.urls.clone(),
    }
}

fn route_value(route: &Route) -> Value {
    json!({
        "name": route.id.as_str(),
        "models": names(&route.models),
        "default_privacy": route.default_privacy.as_str(),
        "targets": names(&route.targets),
        "moved_by": movers(route),
    })
}

/// A row for each thing that moves requests; the route itself stands in the first.
fn route_rows(route: &Route) -> Vec<[String; 5]> {
    let mut movers = movers(route).into_iter();
    let first = [
        route.id.to_string(),
        names(&route.models).join(", "),
        route.default_privacy.as_str().to_owned(),
        names(&route.targets).join(" > "),
        movers.next().unwrap_or_else(|| "failures only".to_owned()),
    ];
    let further = movers.map(|mover| {
        let mut row = <[String; 5]>::default();
        row[4] = mover;
        row
    });
    std::iter::once(first).chain(further).collect()
}

fn names<T: ToString>(ids: &[T]) -> Vec<String> {
    ids.iter().map(ToString::to_string).collect()
}

/// What moves a request from the first target to another, each in a few words.
fn movers(route: &Route) -> Vec<String> {
    let mut movers = Vec::new();
    match route.preference {
        Preference::Order => {}
        Preference::Cost => movers.push("the cheapest first".to_owned()),
        Preference::Latency => movers.push("the soonest first".to_owned()),
    }
    if !route.overflow.is_empty() {
        let goal = route.slo_ttft.map_or_else(
            || "the goal that a client tells".to_owned(),
            |goal| TimeSpan::from(goal).to_string(),
        );
        movers.push(format!("first token later than {goal} to {}", names(&route.overflow).join(", ")));
    }
    movers.extend(route.hard.as_ref().map(hard));
    movers.extend(route.tags.iter().map(|(tag, backend)| format!("tag {tag} to {backend}")));
    if !route.split.is_empty() {
        let parts =
            route.split.iter().map(|part| format!("{} {} to {}", part.weight, part.variant, part.backend));
        movers.push(format!("split {}", parts.collect::<Vec<_>>().join(", ")));
    }
    if let Some(shadow) = &route.shadow {
        movers.push(format!("{} copied to {}", percent(shadow.share), shadow.backend));
    }
    movers.extend(route.max_cost.map(|most| format!("at most {most} $ a request")));
    movers
}

fn hard(hard: &HardPrompts) -> String {
    let unsure = if hard.confidence.is_some() { ", and unsure answers," } else { "" };
    format!("the hardest {}{unsure} to {}", percent(hard.share), hard.strong)
}

/// A part of 1 as people read it.
fn percent(part: f64) -> String {
    format!("{} %", (part * 1000.0).round() / 10.0)
}

/// Rows under headings, in columns as wide as their widest cell; the last one is as long as it is.
fn table<const N: usize>(headings: [&str; N], rows: impl Iterator<Item = [String; N]>) -> String {
    let rows: Vec<[String; N]> = std::iter::once(headings.map(str::to_owned)).chain(rows).collect();
    let width = |column: usize| rows.iter().map(|row| row[column].chars().count()).max().unwrap_or(0);
    let widths: [usize; N] = std::array::from_fn(width);
    let mut text = String::new();
    for row in &rows {
        let mut line = String::from(" ");
        for (cell, width) in row.iter().zip(widths) {
            let _ = write!(line, " {cell:width$} ");
        }
        let _ = writeln!(text, "{}", line.trim_end());
    }
    text
}

#[cfg(test)]
mod tests;
