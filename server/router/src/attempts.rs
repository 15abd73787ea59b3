//! Has a request served: asks who was decided on, and others after them, until one answers or the budget is used up.
//!
//! # Invariants
//!
//! - Every filter is asked again before every attempt, hedges and copies included.
//! - Until an answer is handed over, nothing of it was seen by the client: whoever has begun can be given up.
//! - After that there is never a switch.

use std::time::Duration;

use futures::future::{Either, select};
use spillway_types::GenerateRequest;

use crate::decision::Decision;
use crate::opened::Opened;
use crate::opening::{Aim, Missed, has_engine, judges, open};
use crate::router::{Routed, Router, Shared, variant};
use crate::shadow::copy;
use crate::{
    AttemptFailure, BackendError, BackendId, BoxFuture, CoolDown, Excluded, FallBack, NextStep, NoCandidate,
    Purpose, Reason, Route, RouteError, RouteRequest,
};

/// One request's way to an answer.
pub(crate) struct Attempts<'a> {
    router: &'a Router,
    request: &'a RouteRequest,
    route: &'a Route,
    decision: Decision,
    work: GenerateRequest,
    began: Duration,
    num_asked: u32,
    /// What the client is told if nobody answers: the first error that says when to come back, else the last.
    error: Option<BackendError>,
    /// Who was excluded after the decision.
    excluded: Vec<Excluded>,
}

impl<'a> Attempts<'a> {
    pub(crate) fn new(
        router: &'a Router,
        request: &'a RouteRequest,
        route: &'a Route,
        decision: Decision,
        work: GenerateRequest,
    ) -> Self {
        let began = router.shared.clerk.runtime.now();
        Self {
            router,
            request,
            route,
            decision,
            work,
            began,
            num_asked: 0,
            error: None,
            excluded: Vec::new(),
        }
    }

    /// Tries the plan from its beginning.
    pub(crate) async fn run(mut self) -> Result<Routed, RouteError> {
        let mut plan = self.decision.plan.clone();
        let mut reason = self.decision.reason;
        let mut least_context = None;
        while !plan.is_empty() && self.may_go_on() {
            let id = plan.remove(0);
            if !self.has_more_context(&id, least_context) {
                continue;
            }
            match self.ask(&id, reason, plan.first().cloned()).await {
                Asked::Answered(opened, aim) => match self.judge(opened, aim, &plan).await {
                    Judged::Kept(routed) => return Ok(*routed),
                    Judged::Unsure(strong) => {
                        plan.retain(|other| *other != strong);
                        plan.insert(0, strong);
                        // An unsure answer is better than none: it is asked for again if nobody else gives one.
                        plan.push(id);
                        reason = Reason::Unsure;
                        continue;
                    }
                    Judged::Broken => {}
                },
                Asked::GaveUp => return Err(self.last_error()),
                Asked::FallBack => {}
                Asked::TooLong => least_context = self.context(&id),
            }
            reason = Reason::Fallback;
        }
        Err(self.last_error())
    }

    fn shared(&self) -> &'a Shared {
        &self.router.shared
    }

    fn may_go_on(&self) -> bool {
        let settings = &self.shared().settings.attempts;
        let elapsed = self.shared().clerk.runtime.now().saturating_sub(self.began);
        self.num_asked < settings.max_attempts.max(1) && (self.num_asked == 0 || elapsed < settings.max_time)
    }

    fn context(&self, id: &BackendId) -> Option<u32> {
        self.shared().capabilities(id).and_then(|capabilities| capabilities.context_tokens)
    }

    fn has_more_context(&self, id: &BackendId, least: Option<u32>) -> bool {
        match (self.context(id), least) {
            (Some(context), Some(least)) => context > least,
            (None, _) | (_, None) => true,
        }
    }

    /// Asks one backend until it answers or should be asked no more.
    async fn ask(&mut self, id: &BackendId, reason: Reason, next: Option<BackendId>) -> Asked {
        let mut num_retries = 0;
        loop {
            self.num_asked += 1;
            let purpose = Purpose::Serve;
            let aim = Aim { id: id.clone(), reason, purpose, attempt: self.num_asked };
            let error = match self.race(aim, next.as_ref()).await {
                Ok((opened, aim)) => return Asked::Answered(Box::new(opened), aim),
                Err(Missed::Excluded(excluded)) => {
                    // It was not asked, so it does not count.
                    self.num_asked -= 1;
                    self.excluded.push(excluded);
                    return Asked::FallBack;
                }
                Err(Missed::Failed(error)) => error,
            };
            let treated = error.treatment();
            let wait = self.retry_wait(id, &error, num_retries, next.is_some());
            let next = match (wait, treated.fall_back) {
                (Some(wait), _) => NextStep::Retry(wait),
                (None, FallBack::Never) => NextStep::GiveUp,
                (None, FallBack::Always | FallBack::ToLargerContext) => NextStep::FallBack,
            };
            self.failed(id, &error, next);
            self.remember(error);
            match (wait, treated.fall_back) {
                (Some(wait), _) => self.shared().clerk.runtime.sleep(wait).await,
                (None, FallBack::Never) => return Asked::GaveUp,
                (None, FallBack::Always) => return Asked::FallBack,
                (None, FallBack::ToLargerContext) => return Asked::TooLong,
            }
            num_retries += 1;
        }
    }

    /// How long to wait before the same backend is asked again; none if it is not.
    fn retry_wait(
        &self,
        id: &BackendId,
        error: &BackendError,
        num_retries: u32,
        has_next: bool,
    ) -> Option<Duration> {
        let settings = &self.shared().settings.attempts;
        let treatment = error.treatment();
        if num_retries >= treatment.max_retries || !self.may_go_on() {
            return None;
        }
        // Who wants to be left alone is not waited for while somebody else could serve.
        if treatment.cool_down == CoolDown::Short && has_next {
            return None;
        }
        let longest = settings.base_delay.saturating_mul(1 << num_retries.min(16)).min(settings.max_delay);
        let drawn = longest.mul_f64(self.shared().clerk.runtime.random());
        // Nobody is asked before the time that it named, and who names too long a one is not asked again.
        let now = self.shared().clerk.runtime.now();
        let breaker = self.shared().members.get(id).map(|member| &member.standing.breaker);
        let closed_for = breaker.and_then(|breaker| breaker.closed_for(now));
        let pause = closed_for.max(error.retry_after()).unwrap_or_default();
        (pause <= settings.max_delay).then_some(pause + drawn)
    }

    /// Asks a backend, and a second one beside it if the first is slow.
    async fn race(&mut self, aim: Aim, next: Option<&BackendId>) -> Result<(Opened, Aim), Missed> {
        let Some((after, second)) = self.second(&aim, next) else {
            return self.open(&aim).await.map(|opened| (opened, aim));
        };
        let slow = self.shared().clerk.runtime.sleep(after);
        let first: BoxFuture<'_, _> = Box::pin(self.open(&aim));
        let first = match select(first, slow).await {
            Either::Left((answer, _)) => return answer.map(|opened| (opened, aim.clone())),
            Either::Right(((), first)) => first,
        };
        let other: BoxFuture<'_, _> = Box::pin(self.open(&second));
        // Who fails leaves the race to the other; the loser is dropped, which aborts it.
        let won = match select(first, other).await {
            Either::Left((Ok(opened), _)) => Ok((opened, aim.clone())),
            Either::Left((Err(missed), other)) => {
                other.await.map(|opened| (opened, second.clone())).map_err(|_| missed)
            }
            Either::Right((Ok(opened), _)) => Ok((opened, second.clone())),
            Either::Right((Err(_), first)) => first.await.map(|opened| (opened, aim.clone())),
        };
        self.num_asked += 1;
        won
    }

    /// Who is asked beside a slow first one, and after how long.
    fn second(&self, aim: &Aim, next: Option<&BackendId>) -> Option<(Duration, Aim)> {
        let shared = self.shared();
        let aim_at = |id: &BackendId, reason| Aim {
            id: id.clone(),
            reason,
            purpose: Purpose::Hedge,
            attempt: aim.attempt + 1,
        };
        // Once the goal is missed here, nothing is lost by asking elsewhere.
        let late = self.decision.slo_ttft.filter(|_| has_engine(self.router, &aim.id)).and_then(|slo| {
            let to = self.route.overflow.iter().find(|id| {
                **id != aim.id
                    && self
                        .decision
                        .score(id)
                        .is_some_and(|score| shared.spend.has(score.cost, shared.clerk.runtime.now()))
            })?;
            Some((slo, aim_at(to, Reason::LateOverflow)))
        });
        let hedge = shared.settings.attempts.hedge_after.zip(next);
        late.or_else(|| hedge.map(|(after, id)| (after, aim_at(id, Reason::Hedge))))
    }

    async fn open(&self, aim: &Aim) -> Result<Opened, Missed> {
        let is_only = self.decision.plan.len() == 1;
        open(self.router, self.request, self.route, &self.decision, self.work.clone(), aim, is_only).await
    }

    /// Looks at the first tokens of a local answer, where the route wants them judged, and hands it over or not.
    async fn judge(&mut self, mut opened: Box<Opened>, aim: Aim, left: &[BackendId]) -> Judged {
        let hard =
            self.route.hard.as_ref().filter(|hard| hard.strong != aim.id && left.contains(&hard.strong));
        let limits = hard.and_then(|hard| hard.confidence.as_ref().map(|limits| (limits, &hard.strong)));
        let limits =
            limits.filter(|_| judges(self.router, self.route, &aim.id, &self.work) && self.may_go_on());
        if let Some((limits, strong)) = limits {
            match opened.hold_tokens(limits).await {
                Ok(signals) if signals.is_unsure(limits) => return Judged::Unsure(strong.clone()),
                Ok(_) => {}
                Err(error) => {
                    self.failed(&aim.id, &error, NextStep::FallBack);
                    self.remember(error);
                    return Judged::Broken;
                }
            }
        }
        // A client that gets its answer in one piece has seen nothing before its end: until then another can take over.
        let may_switch = !left.is_empty() || !has_engine(self.router, &aim.id);
        if !self.request.is_stream
            && may_switch
            && let Err(error) = opened.hold_all().await
        {
            self.failed(&aim.id, &error, NextStep::FallBack);
            self.remember(error);
            return Judged::Broken;
        }
        Judged::Kept(Box::new(self.hand_over(*opened, aim)))
    }

    fn hand_over(&mut self, opened: Opened, aim: Aim) -> Routed {
        copy(self.router, self.request, self.route, &self.decision, &self.work);
        let model = self.shared().capabilities(&aim.id).map(|capabilities| capabilities.model.clone());
        Routed {
            model: model.unwrap_or_else(|| self.request.model.clone()),
            variant: variant(self.route, &self.decision, &aim.id),
            backend: aim.id,
            reason: aim.reason,
            attempt: aim.attempt,
            decision: self.decision.clone(),
            cost: opened.books().cost(),
            stream: opened.into_stream(),
        }
    }

    fn failed(&self, backend: &BackendId, error: &BackendError, next: NextStep) {
        let failure = AttemptFailure { backend, attempt: self.num_asked, error, next };
        self.shared().clerk.observer.attempt_failed(self.request, &failure);
    }

    fn remember(&mut self, error: BackendError) {
        let has_time = |error: &BackendError| error.retry_after().is_some();
        if !self.error.as_ref().is_some_and(has_time) || has_time(&error) {
            self.error = Some(error);
        }
    }

    fn last_error(self) -> RouteError {
        if let Some(error) = self.error {
            return error.into();
        }
        NoCandidate::AllExcluded { model: self.request.model.clone(), excluded: self.excluded }.into()
    }
}

/// What asking one backend came to.
enum Asked {
    Answered(Box<Opened>, Aim),
    /// The client must hear of it.
    GaveUp,
    /// The next one is asked.
    FallBack,
    /// The next one with more context is asked.
    TooLong,
}

/// What became of an answer that had begun.
enum Judged {
    Kept(Box<Routed>),
    /// This one is asked instead.
    Unsure(BackendId),
    /// It broke while its first tokens were held.
    Broken,
}

#[cfg(test)]
mod tests;
