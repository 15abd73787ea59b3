//! One attempt: filters, the breaker's leave, the books, the call, its first content.

use std::sync::Arc;
use std::time::Duration;

use spillway_types::{GenerateRequest, TopLogprobs};

use crate::books::{Books, Terms};
use crate::breaker::Permit;
use crate::decision::Decision;
use crate::filter::{exclusions, reservation};
use crate::opened::{Opened, Told};
use crate::router::{Member, Router, Shared, variant};
use crate::{
    BackendError, BackendId, BackendSnapshot, Call, Excluded, Exclusion, Purpose, Reason, Route, RouteRequest,
};

/// What an attempt is for.
#[derive(Debug, Clone)]
pub(crate) struct Aim {
    pub(crate) id: BackendId,
    pub(crate) reason: Reason,
    pub(crate) purpose: Purpose,
    pub(crate) attempt: u32,
}

/// Why an attempt did not come to an answer.
pub(crate) enum Missed {
    /// It was not made: the filters, the breaker or the books were against it.
    Excluded(Excluded),
    /// It was made, and failed.
    Failed(BackendError),
}

/// Whether this backend's first tokens are judged: it must be an engine that tells its distribution, of one answer.
pub(crate) fn judges(router: &Router, route: &Route, id: &BackendId, work: &GenerateRequest) -> bool {
    let has_limits = route.hard.as_ref().is_some_and(|hard| hard.confidence.is_some() && hard.strong != *id);
    has_limits && work.params.n.get() == 1 && has_engine(router, id)
}

/// Whether this is an engine of this process.
pub(crate) fn has_engine(router: &Router, id: &BackendId) -> bool {
    let member = router.shared.members.get(id);
    member.is_some_and(|member| member.backend.snapshot().load.engine.is_some())
}

/// Makes one attempt: filters, books, call, first content.
pub(crate) async fn open(
    router: &Router,
    request: &RouteRequest,
    route: &Route,
    decision: &Decision,
    mut work: GenerateRequest,
    aim: &Aim,
    is_only: bool,
) -> Result<Opened, Missed> {
    let shared = &router.shared;
    let (member, snapshot, permit) = admit(shared, request, route, &aim.id)?;
    let waiting = member.standing.wait(request.needs.prompt_tokens);
    let books = write_down(shared, request, route, decision, &snapshot, aim).await?;
    let is_judged = judges(router, route, &aim.id, &work);
    let told = if is_judged { Told::ToClient(work.params.logprobs) } else { Told::All };
    if is_judged {
        work.params.logprobs = TopLogprobs::try_from(TopLogprobs::MAX).ok();
    }
    let has_engine = snapshot.load.engine.is_some();
    let mut books = books;
    let stream = match member.backend.generate(work).await {
        Ok(stream) => stream,
        Err(error) => {
            books.failed(&error);
            return Err(conclude(shared, permit, error));
        }
    };
    let mut opened = Opened::new(stream, books, told);
    // Where nobody else could take over, the client hears at once that it is admitted.
    if !(is_only && has_engine) || is_judged {
        if let Err(error) = opened.hold_first().await {
            return Err(conclude(shared, permit, error));
        }
        if let Some(ttft) = opened.books().ttft().filter(|_| !has_engine) {
            member.standing.measured(ttft);
        }
    }
    permit.begun(shared.clerk.runtime.now());
    opened.committed(waiting, Arc::clone(&member.standing.breaker));
    Ok(opened)
}

/// The filters, and the breaker's leave.
fn admit<'a>(
    shared: &'a Shared,
    request: &RouteRequest,
    route: &Route,
    id: &BackendId,
) -> Result<(&'a Member, BackendSnapshot, Permit), Missed> {
    let excluded = |exclusions| Missed::Excluded(Excluded { id: id.clone(), exclusions });
    let member = shared.members.get(id).ok_or_else(|| excluded(Vec::new()))?;
    let snapshot = member.backend.snapshot();
    let now = shared.clerk.runtime.now();
    let breaker = &member.standing.breaker;
    let residency = &shared.settings.residency;
    let found = exclusions(request, &snapshot, breaker.closed_for(now), route.max_cost, residency);
    if !found.is_empty() {
        return Err(excluded(found));
    }
    let cooling_down = || excluded(vec![Exclusion::CoolingDown { left: Duration::ZERO }]);
    let permit = breaker.permit(now).ok_or_else(cooling_down)?;
    Ok((member, snapshot, permit))
}

/// Opens the call's books.
async fn write_down(
    shared: &Shared,
    request: &RouteRequest,
    route: &Route,
    decision: &Decision,
    snapshot: &BackendSnapshot,
    aim: &Aim,
) -> Result<Books, Missed> {
    let capabilities = &snapshot.capabilities;
    let reserved = reservation(request, capabilities);
    let overflows = matches!(aim.reason, Reason::Overflow | Reason::LateOverflow);
    let is_spent = overflows && shared.spend.take(reserved, shared.clerk.runtime.now());
    let call = Call {
        request: request.name.clone(),
        attempt: aim.attempt,
        key: request.key.clone(),
        route: route.id.clone(),
        backend: aim.id.clone(),
        model: capabilities.model.clone(),
        variant: variant(route, decision, &aim.id),
        privacy: request.label.privacy,
        purpose: aim.purpose,
        reserved,
        prompt_tokens: request.needs.prompt_tokens,
        max_tokens: request.needs.max_tokens,
    };
    let terms = Terms {
        prices: capabilities.prices,
        strong: shared.strong_prices(route),
        spent: is_spent.then(|| shared.spend.clone()),
        reason: aim.reason,
    };
    Books::open(shared.clerk.clone(), call, terms).await.map_err(|error| {
        let source = Box::new(error);
        Missed::Failed(BackendError::Failed { backend: aim.id.clone(), tokens_sent: 0, source })
    })
}

/// Tells the breaker of an error.
fn conclude(shared: &Shared, permit: Permit, error: BackendError) -> Missed {
    permit.failed(shared.clerk.runtime.now(), error.treatment().cool_down, error.retry_after());
    Missed::Failed(error)
}
