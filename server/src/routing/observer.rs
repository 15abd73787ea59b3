//! What the router does, as metrics and log lines. No line holds text of a prompt.

use metrics::{counter, gauge, histogram};
use spillway_router::{
    AttemptFailure, Call, CallEnd, Decision, NextStep, Observer, Outcome, Purpose, Reason, RouteRequest,
    Verdict,
};
use spillway_types::Usd;

/// Tells Prometheus and the log.
pub(crate) struct RouterMetrics;

impl Observer for RouterMetrics {
    fn decided(&self, request: &RouteRequest, decision: &Decision) {
        let reason = decision.reason.as_str();
        let route = decision.route.as_str().to_owned();
        counter!("spillway_route_decisions_total", "route" => route, "reason" => reason).increment(1);
        for considered in &decision.considered {
            if let Verdict::Excluded(exclusions) = &considered.verdict
                && let Some(exclusion) = exclusions.first()
            {
                let backend = considered.id.as_str().to_owned();
                let why = exclusion.as_str();
                counter!("spillway_route_exclusions_total", "backend" => backend, "why" => why).increment(1);
            }
        }
        tracing::debug!(
            request_id = %request.name,
            route = %decision.route,
            privacy = decision.label.privacy.as_str(),
            said_by = %decision.label.source,
            reason,
            plan = ?decision.plan.iter().map(spillway_router::BackendId::as_str).collect::<Vec<_>>(),
            considered = ?decision.considered,
            "decided"
        );
    }

    fn attempt_failed(&self, request: &RouteRequest, failure: &AttemptFailure<'_>) {
        let next = match failure.next {
            NextStep::Retry(_) => "retry",
            NextStep::FallBack => "fall_back",
            NextStep::GiveUp => "give_up",
        };
        let backend = failure.backend.as_str().to_owned();
        counter!("spillway_route_failed_attempts_total", "backend" => backend, "next" => next).increment(1);
        tracing::warn!(
            request_id = %request.name,
            backend = %failure.backend,
            attempt = failure.attempt,
            error = %failure.error,
            next = ?failure.next,
            "attempt failed"
        );
    }

    fn ended(&self, call: &Call, end: &CallEnd, reason: Reason) {
        let backend = call.backend.as_str().to_owned();
        let route = call.route.as_str().to_owned();
        let labels = [
            ("backend", backend.clone()),
            ("model", call.model.as_str().to_owned()),
            ("route", route.clone()),
            (
                "variant",
                call.variant.as_ref().map_or_else(String::new, |variant| variant.as_str().to_owned()),
            ),
            ("key", call.key.as_deref().unwrap_or_default().to_owned()),
        ];
        let outcome = match end.outcome {
            Outcome::Answered => "answered",
            Outcome::Cancelled => "cancelled",
            Outcome::Broken(_) => "broken",
            Outcome::Failed(_) => "failed",
        };
        counter!("spillway_calls_total", "backend" => backend.clone(), "outcome" => outcome,
            "purpose" => call.purpose.as_str(), "reason" => reason.as_str())
        .increment(1);
        counter!("spillway_cost_nano_usd_total", &labels).increment(end.cost.nanos());
        counter!("spillway_call_prompt_tokens_total", &labels).increment(u64::from(end.usage.prompt_tokens));
        counter!("spillway_call_completion_tokens_total", &labels)
            .increment(u64::from(end.usage.completion_tokens));
        if let Some(ttft_ms) = end.ttft_ms {
            histogram!("spillway_call_ttft_seconds", "backend" => backend).record(ttft_ms as f64 / 1e3);
        }
        if call.purpose == Purpose::Serve && end.outcome == Outcome::Answered {
            save(&route, end);
        }
        tracing::debug!(
            request_id = %call.request,
            backend = %call.backend,
            attempt = call.attempt,
            outcome = end.outcome.as_str(),
            cost_usd = %end.cost,
            prompt_tokens = end.usage.prompt_tokens,
            completion_tokens = end.usage.completion_tokens,
            duration_ms = end.duration_ms,
            ttft_ms = end.ttft_ms,
            "call ended"
        );
    }
}

/// What a request cost less than its route's strong model would have.
fn save(route: &str, end: &CallEnd) {
    if let Some(strong) = end.strong_cost {
        // A gauge, since a dearer model than the strong one can lose what others saved; and since counters are whole.
        let saved = strong.as_dollars() - end.cost.as_dollars();
        gauge!("spillway_cost_saved_usd_total", "route" => route.to_owned()).increment(saved);
    }
    let cost = Usd::as_dollars(end.cost);
    gauge!("spillway_cost_usd_total", "route" => route.to_owned()).increment(cost);
}
