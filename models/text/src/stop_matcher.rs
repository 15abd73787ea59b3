//! Finds stop strings in text that comes in pieces.
//!
//! Text that may turn out to begin a stop string is held back until that is decided, so that no part of one
//! is ever shown. All stop strings are followed at once, one byte at a time, through an automaton
//! (Aho-Corasick), so a piece costs time in proportion to its length, whatever the number and the form of the
//! stop strings.
//!
//! # Which match wins
//!
//! The one that is complete first; of several complete at the same place, the one that starts first. This is
//! what a reader of the stream can know: waiting for a longer one would mean to generate tokens past a stop.
//!
//! In a request's path: the engine's output side, after [`crate::Detokenizer`].
//! Source: Aho and Corasick, "Efficient string matching: an aid to bibliographic search", 1975.

use std::collections::{HashMap, VecDeque};
use std::sync::Arc;

/// Several stop strings, compiled once for all sequences of a request.
#[derive(Debug, Clone)]
pub struct StopStrings {
    states: Arc<[State]>,
    texts: Arc<[String]>,
}

/// One state of the automaton: the longest beginning of a stop string that the text so far ends with.
#[derive(Debug, Clone, Default)]
struct State {
    next: HashMap<u8, u32>,
    /// The state of the next shorter ending.
    shorter: u32,
    /// Bytes of the beginning that this state stands for: all that must be held back.
    len: usize,
    /// The longest stop string that ends here.
    stop: Option<u32>,
}

/// What became of a piece of text.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum StopStatus {
    /// No stop string yet.
    Open,
    /// A stop string was met. It and everything after it are gone.
    Stopped {
        /// Index of the stop string.
        stop_idx: u32,
    },
}

/// Follows the text of one sequence.
#[derive(Debug, Clone)]
pub struct StopMatcher {
    stops: StopStrings,
    state: u32,
    held: String,
    status: StopStatus,
    text: StopText,
}

/// What becomes of the stop string itself.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum StopText {
    /// It is not shown.
    LeaveOut,
    /// It is the end of what is shown.
    Include,
}

impl StopStrings {
    /// Compiles stop strings. Empty ones are never met; an empty list holds nothing back.
    pub fn new(texts: impl IntoIterator<Item = String>) -> Self {
        let texts: Arc<[String]> = texts.into_iter().collect();
        let mut states = vec![State::default()];
        for (stop_idx, text) in (0u32..).zip(texts.iter()).filter(|(_, text)| !text.is_empty()) {
            let mut state_idx = 0;
            for byte in text.bytes() {
                state_idx = child(&mut states, state_idx, byte);
            }
            states[state_idx].stop.get_or_insert(stop_idx);
        }
        link(&mut states);
        Self { states: states.into(), texts }
    }

    /// Whether there is nothing to look for.
    pub fn is_empty(&self) -> bool {
        self.states.len() == 1
    }

    /// The stop string with this index.
    pub fn get(&self, stop_idx: u32) -> Option<&str> {
        self.texts.get(stop_idx as usize).map(String::as_str)
    }

    /// The state after one more byte.
    fn step(&self, state: u32, byte: u8) -> u32 {
        let mut state_idx = state as usize;
        loop {
            if let Some(&next) = self.states[state_idx].next.get(&byte) {
                return next;
            }
            if state_idx == 0 {
                return 0;
            }
            state_idx = self.states[state_idx].shorter as usize;
        }
    }
}

impl StopMatcher {
    /// A matcher at the start of a text.
    pub fn new(stops: StopStrings, text: StopText) -> Self {
        Self { stops, state: 0, held: String::new(), status: StopStatus::Open, text }
    }

    /// Takes the next piece of text and appends what may be shown to `shown`.
    ///
    /// After a match nothing more is shown.
    pub fn push(&mut self, piece: &str, shown: &mut String) -> StopStatus {
        self.take(piece, shown, Matching::On)
    }

    /// As [`push`](Self::push), but a stop string that is complete within this piece is no match. One that is not can
    /// still become one.
    pub fn pass_over(&mut self, piece: &str, shown: &mut String) -> StopStatus {
        self.take(piece, shown, Matching::Off)
    }

    fn take(&mut self, piece: &str, shown: &mut String, matching: Matching) -> StopStatus {
        if self.status != StopStatus::Open {
            return self.status;
        }
        self.held.push_str(piece);
        let scanned = self.held.len() - piece.len();
        for (byte_idx, byte) in piece.bytes().enumerate() {
            self.state = self.stops.step(self.state, byte);
            if matching == Matching::On
                && let Some(stop_idx) = self.stops.states[self.state as usize].stop
            {
                let end = scanned + byte_idx + 1;
                let start = end - self.stops.texts[stop_idx as usize].len();
                let num_shown = match self.text {
                    StopText::LeaveOut => start,
                    StopText::Include => end,
                };
                shown.push_str(&self.held[..num_shown]);
                self.held.clear();
                self.status = StopStatus::Stopped { stop_idx };
                return self.status;
            }
        }
        let num_shown = self.held.len() - self.stops.states[self.state as usize].len;
        shown.push_str(&self.held[..num_shown]);
        self.held.drain(..num_shown);
        StopStatus::Open
    }

    /// Ends the text: what was held back is no stop string any more and is shown.
    pub fn finish(&mut self, shown: &mut String) -> StopStatus {
        shown.push_str(&self.held);
        self.held.clear();
        self.state = 0;
        self.status
    }
}

/// Whether complete stop strings count.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Matching {
    On,
    Off,
}

/// The state after `byte` in the trie, made if it is new.
fn child(states: &mut Vec<State>, state_idx: usize, byte: u8) -> usize {
    let fresh = states.len() as u32;
    let len = states[state_idx].len + 1;
    let next = *states[state_idx].next.entry(byte).or_insert(fresh);
    if next == fresh {
        states.push(State { len, ..State::default() });
    }
    next as usize
}

/// Links every state to the state of its next shorter ending, nearest to the root first.
fn link(states: &mut [State]) {
    let mut queue: VecDeque<usize> = states[0].next.values().map(|&next| next as usize).collect();
    while let Some(state_idx) = queue.pop_front() {
        let children: Vec<(u8, u32)> =
            states[state_idx].next.iter().map(|(&byte, &next)| (byte, next)).collect();
        for (byte, next) in children {
            let mut ending = states[state_idx].shorter as usize;
            let shorter = loop {
                match states[ending].next.get(&byte) {
                    Some(&found) => break found,
                    None if ending == 0 => break 0,
                    None => ending = states[ending].shorter as usize,
                }
            };
            states[next as usize].shorter = shorter;
            let inherited = states[shorter as usize].stop;
            let stop = &mut states[next as usize].stop;
            *stop = stop.or(inherited);
            queue.push_back(next as usize);
        }
    }
}

#[cfg(test)]
mod tests;
