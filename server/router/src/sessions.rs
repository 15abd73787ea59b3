//! Where sessions were served last: their prefix is warm there for a while.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use crate::BackendId;

/// The sessions of late. Bounded: the longest unused is forgotten first, a tenth at once.
#[derive(Debug, Default)]
pub(crate) struct Sessions {
    places: Mutex<HashMap<Whose, Place>>,
}

/// A session as its client names it, under the name of the client's key: another's session of the same name is another.
pub(crate) type Whose = (Option<Arc<str>>, Arc<str>);

/// Where a session was served last.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Place {
    pub(crate) backend: BackendId,
    /// Tokens of its last prompt, which are likely the beginning of its next one.
    pub(crate) prompt_tokens: u32,
    at: Duration,
}

impl Sessions {
    /// Where the session was served, if that is not longer ago than `ttl`.
    pub(crate) fn place(&self, session: &Whose, ttl: Duration, now: Duration) -> Option<Place> {
        let places = self.places.lock().unwrap_or_else(PoisonError::into_inner);
        places.get(session).filter(|place| place.at + ttl >= now).cloned()
    }

    /// Notes that the session was served there.
    pub(crate) fn served(
        &self,
        session: Whose,
        (backend, prompt_tokens): (&BackendId, u32),
        max_sessions: usize,
        now: Duration,
    ) {
        if max_sessions == 0 {
            return;
        }
        let mut places = self.places.lock().unwrap_or_else(PoisonError::into_inner);
        if places.len() >= max_sessions && !places.contains_key(&session) {
            forget_oldest(&mut places, max_sessions);
        }
        places.insert(session, Place { backend: backend.clone(), prompt_tokens, at: now });
    }
}

/// Makes room for a tenth more, so that the search is paid for by many.
fn forget_oldest(places: &mut HashMap<Whose, Place>, max_sessions: usize) {
    let mut times: Vec<Duration> = places.values().map(|place| place.at).collect();
    let num_forgotten = (max_sessions / 10).max(1).min(times.len());
    let (_, limit, _) = times.select_nth_unstable(num_forgotten - 1);
    let limit = *limit;
    let mut left = num_forgotten;
    places.retain(|_, place| {
        let is_forgotten = place.at <= limit && left > 0;
        left -= usize::from(is_forgotten);
        !is_forgotten
    });
}

#[cfg(test)]
mod tests {
    use super::*;

    const TTL: Duration = Duration::from_secs(10);

    #[test]
    fn a_session_is_remembered_until_its_time_is_over_or_there_are_too_many() {
        let sessions = Sessions::default();
        let local = BackendId::new("local");
        let of = |name: &str| -> Whose { (Some(Arc::from("ours")), Arc::from(name)) };
        for number in 0..12 {
            sessions.served(of(&format!("s{number}")), (&local, 7), 10, Duration::from_secs(number));
        }
        let now = Duration::from_secs(12);
        assert_eq!(sessions.place(&of("s0"), TTL * 10, now), None, "forgotten for newer ones");
        assert_eq!(sessions.place(&of("s1"), TTL * 10, now), None);
        let place = sessions.place(&of("s2"), TTL, now).expect("just in time");
        assert_eq!((place.backend, place.prompt_tokens), (local, 7));
        assert_eq!(sessions.place(&of("s2"), TTL, Duration::from_secs(13)), None, "too long ago");
        assert_eq!(sessions.place(&(None, Arc::from("s2")), TTL, now), None, "another's");
    }
}
