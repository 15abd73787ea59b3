//! The matcher against a search over the whole text, on random stop strings, texts and splits.

use proptest::prelude::*;

use super::*;

/// Shows `pieces` one by one. Returns what was shown after each, at the end, and the status.
fn run(stops: &[&str], pieces: &[&str]) -> (String, StopStatus) {
    let mut matcher =
        StopMatcher::new(StopStrings::new(stops.iter().map(|&stop| stop.to_owned())), StopText::LeaveOut);
    let mut shown = String::new();
    for piece in pieces {
        matcher.push(piece, &mut shown);
    }
    let status = matcher.finish(&mut shown);
    (shown, status)
}

/// What the rule says, on the whole text: the match that ends first, of those the one that starts first.
fn naive(stops: &[String], text: &str) -> (String, StopStatus) {
    let matches = (0u32..).zip(stops).filter(|(_, stop)| !stop.is_empty()).flat_map(|(stop_idx, stop)| {
        let starts = (0..text.len()).filter(|&start| text.as_bytes()[start..].starts_with(stop.as_bytes()));
        starts.map(move |start| (start + stop.len(), start, stop_idx))
    });
    match matches.min() {
        Some((_, start, stop_idx)) => (text[..start].to_owned(), StopStatus::Stopped { stop_idx }),
        None => (text.to_owned(), StopStatus::Open),
    }
}

#[test]
fn finds_a_stop_string_across_pieces_and_shows_nothing_of_it() {
    let stopped = StopStatus::Stopped { stop_idx: 0 };
    assert_eq!(run(&["\n\nUser:"], &["Hi\n", "\nUs", "er: more", " and more"]), ("Hi".to_owned(), stopped));
    assert_eq!(run(&["é!"], &["caf", "é", "!"]), ("caf".to_owned(), stopped));
}

#[test]
fn a_stop_string_may_be_shown_and_nothing_after_it() {
    let stops = StopStrings::new(["END".to_owned()]);
    let mut matcher = StopMatcher::new(stops, StopText::Include);
    let mut shown = String::new();
    matcher.push("a E", &mut shown);
    assert_eq!(matcher.push("ND b", &mut shown), StopStatus::Stopped { stop_idx: 0 });
    assert_eq!(shown, "a END");
}

/// Goal: what is complete too early is text; what is only begun may still be met.
#[test]
fn a_stop_string_that_is_passed_over_is_text() {
    let stops = StopStrings::new(["ab".to_owned(), "xyz".to_owned()]);
    let mut matcher = StopMatcher::new(stops, StopText::LeaveOut);
    let mut shown = String::new();
    assert_eq!(matcher.pass_over("ab ab xy", &mut shown), StopStatus::Open);
    assert_eq!(shown, "ab ab ");
    assert_eq!(matcher.push("z", &mut shown), StopStatus::Stopped { stop_idx: 1 });
    assert_eq!(shown, "ab ab ");
}

#[test]
fn shows_at_the_end_what_was_held_back() {
    assert_eq!(run(&["</s>"], &["a <", "/s"]), ("a </s".to_owned(), StopStatus::Open));
}

#[test]
fn holds_back_no_more_than_could_begin_a_stop_string() {
    let mut matcher = StopMatcher::new(StopStrings::new(["aab".to_owned()]), StopText::LeaveOut);
    let mut shown = String::new();
    matcher.push("xaaa", &mut shown);
    assert_eq!(shown, "xa");
    matcher.push("c", &mut shown);
    assert_eq!(shown, "xaaac");
}

#[test]
fn takes_the_match_that_is_complete_first_and_of_equals_the_longest() {
    assert_eq!(run(&["abcd", "bc"], &["xabcd"]), ("xa".to_owned(), StopStatus::Stopped { stop_idx: 1 }));
    assert_eq!(run(&["bc", "abc"], &["xabcd"]), ("x".to_owned(), StopStatus::Stopped { stop_idx: 1 }));
    assert_eq!(run(&["bc", "bc"], &["abc"]), ("a".to_owned(), StopStatus::Stopped { stop_idx: 0 }));
}

#[test]
fn without_stop_strings_nothing_is_held_back() {
    let stops = StopStrings::new([String::new()]);
    assert!(stops.is_empty());
    let mut shown = String::new();
    StopMatcher::new(stops, StopText::LeaveOut).push("text", &mut shown);
    assert_eq!(shown, "text");
}

proptest! {
    #[test]
    fn agrees_with_a_search_over_the_whole_text(
        stops in prop::collection::vec("[abé]{0,4}", 0..5),
        pieces in prop::collection::vec("[abé]{0,5}", 0..12),
    ) {
        let mut matcher = StopMatcher::new(StopStrings::new(stops.clone()), StopText::LeaveOut);
        let (expected, status) = naive(&stops, &pieces.concat());
        let mut shown = String::new();
        for piece in &pieces {
            matcher.push(piece, &mut shown);
            prop_assert!(expected.starts_with(&shown), "showed {shown:?} of {expected:?}");
        }
        prop_assert_eq!(matcher.finish(&mut shown), status);
        prop_assert_eq!(shown, expected);
    }
}
