//! Decisions over written snapshots.

use std::time::Duration;

use spillway_types::ChatPrompt;

use super::*;
use crate::{BackendLoad, Capabilities, Feature};

const CHAT: Prompt = Prompt::Chat(ChatPrompt {
    messages: Vec::new(),
    end: spillway_types::ChatEnd::AssistantTurn,
    arguments: None,
    tools: None,
});
const TEXT: Prompt = Prompt::Text(String::new());

fn candidate(backend_idx: usize, id: &str, num_waiting: u32, num_running: u32) -> Candidate {
    Candidate {
        backend_idx,
        id: BackendId::new(id),
        snapshot: BackendSnapshot {
            load: BackendLoad { num_running, num_waiting, kv_cache_usage: None, engine: None },
            health: BackendHealth::Ready,
            capabilities: Arc::new(Capabilities::inside(ModelId::new("tiny"), [Feature::Chat])),
        },
    }
}

fn stopped(mut candidate: Candidate) -> Candidate {
    candidate.snapshot.health = BackendHealth::Stopped { reason: Arc::from("out of memory") };
    candidate
}

fn candidates(model: &str, prompt: &Prompt, all: Vec<Candidate>) -> Result<Candidates, NoCandidate> {
    Candidates::new(&ModelId::new(model), prompt, all)
}

#[test]
fn a_model_that_nobody_serves_is_unknown() {
    let error = candidates("big", &TEXT, vec![candidate(0, "local", 0, 0)]).expect_err("nobody serves it");
    assert_eq!(error, NoCandidate::UnknownModel { model: ModelId::new("big") });
}

#[test]
fn a_stopped_backend_is_left_out_and_the_error_says_why() {
    let error =
        candidates("tiny", &TEXT, vec![stopped(candidate(0, "local", 0, 0))]).expect_err("it has stopped");
    assert_eq!(
        error.to_string(),
        "no backend of model `tiny` can serve the request: `local` has stopped (out of memory)"
    );
}

#[test]
fn a_draining_backend_takes_nothing_new() {
    let mut draining = candidate(0, "local", 0, 0);
    draining.snapshot.health = BackendHealth::Draining;
    let error = candidates("tiny", &TEXT, vec![draining]).expect_err("it takes nothing new");
    assert!(error.to_string().ends_with("`local` is shutting down"), "{error}");
}

#[test]
fn an_overdue_backend_still_takes_requests() {
    let mut overdue = candidate(0, "local", 0, 0);
    overdue.snapshot.health = BackendHealth::Overdue { since: Duration::from_secs(5) };
    assert!(candidates("tiny", &TEXT, vec![overdue]).is_ok());
}

#[test]
fn a_conversation_needs_a_chat_template_and_plain_text_does_not() {
    let mut base_model = candidate(0, "local", 0, 0);
    base_model.snapshot.capabilities = Arc::new(Capabilities::inside(ModelId::new("tiny"), []));
    assert!(candidates("tiny", &TEXT, vec![base_model.clone()]).is_ok());
    let error = candidates("tiny", &CHAT, vec![base_model]).expect_err("no template");
    assert!(error.to_string().ends_with("`local` has no chat template"), "{error}");
}

#[test]
fn a_lone_candidate_is_picked_for_that_reason() {
    let candidates =
        candidates("tiny", &CHAT, vec![stopped(candidate(0, "first", 0, 0)), candidate(1, "second", 9, 9)])
            .expect("one is left");
    let decision = pick(&candidates);
    assert_eq!((decision.chosen.backend_idx, decision.reason), (1, Reason::OnlyCandidate));
}

#[test]
fn waiting_counts_before_running_and_order_breaks_ties() {
    for (loads, expected) in
        [([(2, 0), (1, 9), (1, 8)], 2), ([(0, 3), (0, 3), (0, 4)], 0), ([(1, 0), (0, 5), (0, 5)], 1)]
    {
        let all =
            loads.iter().enumerate().map(|(idx, load)| candidate(idx, &format!("b{idx}"), load.0, load.1));
        let candidates = candidates("tiny", &CHAT, all.collect()).expect("all can serve");
        let decision = pick(&candidates);
        assert_eq!((decision.chosen.backend_idx, decision.reason), (expected, Reason::LeastLoaded));
        assert_eq!(candidates.iter().count(), 3);
    }
}
