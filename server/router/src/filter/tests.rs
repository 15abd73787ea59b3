//! Each reason to leave a backend out, alone and together.

use std::sync::Arc;

use spillway_types::{TokenPrices, Usd};

use super::*;
use crate::testing::{private, standard};
use crate::{BackendLoad, Boundary, Needs, Residency};

fn dollars(text: &str) -> Usd {
    Usd::parse(text).expect("dollars")
}

fn far() -> Capabilities {
    let prices = TokenPrices { input: dollars("1"), output: dollars("5"), ..TokenPrices::default() };
    let residency = Residency { region: Arc::from("eu-central-1"), profile_prefix: Some(Arc::from("eu")) };
    Capabilities {
        boundary: Boundary::Outside,
        prices,
        residency: Some(residency),
        max_output_tokens: Some(1000),
        ..Capabilities::inside(spillway_types::ModelId::new("large"), [Feature::Chat])
    }
}

fn words(request: &RouteRequest, capabilities: Capabilities, rules: &ResidencyRules) -> Vec<&'static str> {
    let snapshot = BackendSnapshot {
        load: BackendLoad::default(),
        health: BackendHealth::Ready,
        capabilities: Arc::new(capabilities),
    };
    let found = exclusions(request, &snapshot, None, Some(dollars("0.01")), rules);
    found.iter().map(Exclusion::as_str).collect()
}

#[test]
fn who_is_able_has_nothing_against_it() {
    assert_eq!(words(&standard("a"), far(), &ResidencyRules::default()), [] as [&str; 0]);
}

#[test]
fn private_is_the_first_reason_of_all() {
    let request = RouteRequest {
        needs: Needs { features: [Feature::Tools].into(), prompt_tokens: 10_000, max_tokens: Some(2000) },
        ..private("a")
    };
    let none = Some(std::collections::BTreeSet::new());
    let rules = ResidencyRules { regions: none.clone(), profile_prefixes: none };
    let expected = ["private", "region", "profile_prefix", "capability", "answer_too_long", "too_expensive"];
    assert_eq!(words(&request, far(), &rules), expected);
}

#[test]
fn a_profile_may_be_barred_where_its_region_is_not() {
    let allowed = |names: &[&str]| Some(names.iter().map(|name| Arc::from(*name)).collect());
    let rules = |prefixes| ResidencyRules {
        regions: allowed(&["eu-central-1"]),
        profile_prefixes: allowed(prefixes),
    };
    let with = |prefix: Option<&str>| Capabilities {
        residency: Some(Residency {
            region: Arc::from("eu-central-1"),
            profile_prefix: prefix.map(Arc::from),
        }),
        ..far()
    };
    let request = standard("a");
    assert_eq!(words(&request, with(Some("global")), &rules(&["eu"])), ["profile_prefix"]);
    assert_eq!(words(&request, with(Some("eu")), &rules(&["eu"])), [] as [&str; 0]);
    assert_eq!(words(&request, with(None), &rules(&[])), [] as [&str; 0], "its region alone computes");
}

#[test]
fn the_cost_counts_what_may_be_generated_and_the_strictest_limit_holds() {
    let request = |max_tokens, limit| {
        let mut request = standard("a");
        request.needs.max_tokens = max_tokens;
        request.max_cost = limit;
        request
    };
    let rules = ResidencyRules::default();
    // 100 of prompt and 100 generated cost 0.0006 dollars.
    assert_eq!(words(&request(Some(100), Some(dollars("0.0006"))), far(), &rules), [] as [&str; 0]);
    assert_eq!(words(&request(Some(100), Some(dollars("0.0005"))), far(), &rules), ["too_expensive"]);
    // Without a limit of its own it may generate what the backend does at most: 0.0051 dollars.
    assert_eq!(words(&request(None, Some(dollars("0.005"))), far(), &rules), ["too_expensive"]);
    // The route's limit of a cent holds, too.
    let mut long = request(None, None);
    long.needs.prompt_tokens = 10_000;
    assert_eq!(words(&long, far(), &rules), ["too_expensive"]);
}

#[test]
fn reasons_read_as_sentences_with_value_and_limit() {
    let excluded =
        |exclusion| Excluded { id: BackendId::new("far"), exclusions: vec![exclusion] }.to_string();
    let lacks = Exclusion::Lacks([Feature::Tools, Feature::Seed].into());
    assert_eq!(excluded(lacks), "`far` has no tools, no seeds");
    let expensive = Exclusion::TooExpensive { cost: dollars("0.5"), limit: dollars("0.25") };
    assert_eq!(excluded(expensive), "`far` could cost 0.5 dollars, and the request may cost 0.25");
}
