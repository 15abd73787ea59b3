//! The whole scheduler against a model of what it must bring forth: the tokens of an undisturbed run.
//!
//! Random clients submit, hang up and stop; steps are planned ahead, complete, fail, and bring none or several tokens.
//! A device that keeps real (if small) "keys and values" in the lent blocks computes each token from what it finds
//! there, so a block lent twice, a stale cache entry or a token fed at the wrong position shows in the output.

#[path = "model/device.rs"]
mod device;
#[path = "model/world.rs"]
mod world;

use std::cell::RefCell;

use proptest::collection::vec;
use proptest::prelude::*;
use proptest::test_runner::{Config, TestRunner};

use world::{Setup, Tally, World};

/// What happens next. Indices are taken modulo what there is.
#[derive(Debug, Clone)]
enum Event {
    Submit(NewRequest),
    Plan,
    /// `luck` decides which rows bring none or several tokens.
    Complete {
        luck: u64,
    },
    /// The oldest step in flight breaks, or the newest cannot be launched.
    Fail {
        newest: bool,
    },
    Abort {
        request_idx: usize,
    },
    Finish {
        seq_idx: usize,
    },
    Wait {
        seconds: u8,
    },
}

/// A request in small numbers.
#[derive(Debug, Clone)]
struct NewRequest {
    /// Tokens that it has in common with all other prompts, and its own after them.
    shared_len: u32,
    own_len: u32,
    n: u32,
    max_tokens: u32,
    priority: usize,
    salted: bool,
    /// Whether it computes its whole prompt, whatever is cached.
    computes_all: bool,
    ignores_end: bool,
}

fn any_request() -> impl Strategy<Value = NewRequest> {
    let sizes = (0..12_u32, 1..10_u32, 1..4_u32, 1..20_u32);
    (sizes, 0..3_usize, (prop::bool::weighted(0.2), prop::bool::weighted(0.2)), prop::bool::weighted(0.3))
        .prop_map(|((shared_len, own_len, n, max_tokens), priority, (salted, computes_all), ignores_end)| {
            NewRequest { shared_len, own_len, n, max_tokens, priority, salted, computes_all, ignores_end }
        })
}

fn any_event() -> impl Strategy<Value = Event> {
    prop_oneof![
        10 => any_request().prop_map(Event::Submit),
        30 => Just(Event::Plan),
        30 => any::<u64>().prop_map(|luck| Event::Complete { luck }),
        1 => any::<bool>().prop_map(|newest| Event::Fail { newest }),
        2 => any::<usize>().prop_map(|request_idx| Event::Abort { request_idx }),
        2 => any::<usize>().prop_map(|seq_idx| Event::Finish { seq_idx }),
        2 => (0..40_u8).prop_map(|seconds| Event::Wait { seconds }),
    ]
}

fn any_setup(depth: u32) -> impl Strategy<Value = Setup> {
    let sizes = (prop::sample::select(vec![1_u32, 2, 4]), 6..40_u32, 1..8_u32, 0..24_u32);
    (sizes, prop::option::of(1..6_u32), any::<bool>(), 20..40_u32, any::<bool>()).prop_map(
        move |(
            (block_size, pool_tokens, max_num_seqs, spare),
            chunk,
            prefix_caching,
            max_model_len,
            steady,
        )| Setup {
            depth,
            block_size,
            num_blocks: pool_tokens.div_ceil(block_size),
            max_num_seqs,
            max_num_batched_tokens: max_num_seqs + spare,
            chunk,
            prefix_caching,
            max_model_len,
            steady,
        },
    )
}

/// Runs `num_cases` random worlds, and tells how much of everything happened in them.
fn run(depth: u32, num_cases: u32) -> Tally {
    let tally = RefCell::new(Tally::default());
    let mut runner =
        TestRunner::new(Config { cases: num_cases, failure_persistence: None, ..Config::default() });
    let worlds = (any_setup(depth), vec(any_event(), 1..150));
    let outcome = runner.run(&worlds, |(setup, events)| {
        let mut world = World::new(&setup);
        for event in &events {
            world.happen(event);
        }
        world.drain();
        tally.borrow_mut().add(&world.tally());
        Ok(())
    });
    if let Err(error) = outcome {
        panic!("{error}");
    }
    tally.into_inner()
}

/// Every kind of stress must have occurred, or the test shows nothing.
fn assert_stressed(tally: &Tally) {
    assert!(tally.preemptions > 100, "{tally:?}");
    assert!(tally.prefix_hit_tokens > 100, "{tally:?}");
    assert!(tally.shared_by_siblings > 20, "{tally:?}");
    assert!(tally.whole_sequences > 500, "{tally:?}");
    assert!(tally.ends_by_token > 50, "{tally:?}");
    assert!(tally.ends_by_length > 50, "{tally:?}");
    assert!(tally.rows_without_token > 50, "{tally:?}");
    assert!(tally.rows_with_several_tokens > 50, "{tally:?}");
    assert!(tally.failed_sequences > 10, "{tally:?}");
}

#[test]
fn tokens_are_those_of_an_undisturbed_run_with_one_step_in_flight() {
    let tally = run(1, 1000);
    assert_stressed(&tally);
}

#[test]
fn tokens_are_those_of_an_undisturbed_run_with_two_steps_in_flight() {
    let tally = run(2, 1000);
    assert_stressed(&tally);
    assert!(tally.unknown_inputs > 500, "{tally:?}");
    assert!(tally.tokens_after_preemption > 20, "{tally:?}");
}

#[test]
fn tokens_are_those_of_an_undisturbed_run_with_three_steps_in_flight() {
    let tally = run(3, 1000);
    assert_stressed(&tally);
    assert!(tally.unknown_inputs > 500, "{tally:?}");
    assert!(tally.tokens_after_preemption > 20, "{tally:?}");
}
