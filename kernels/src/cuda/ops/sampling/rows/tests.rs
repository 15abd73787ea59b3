//! The words of orders and lists, and what is refused.

use super::*;

fn known(tokens: &[u32]) -> impl DoubleEndedIterator<Item = OutputToken> {
    tokens.iter().map(|&token| OutputToken::Known(token))
}

#[test]
fn an_order_has_its_words_where_the_kernels_look_for_them() {
    let mut rows = SamplingRows::new(70, 4).expect("in range");
    rows.push_idle();
    let draw = Draw {
        temperature: 0.5,
        top_k: NonZeroU32::new(9),
        top_p: Some(0.75),
        min_p: Some(0.25),
        seed: 0x1_0000_0002,
        choice: 3,
        position: 4,
    };
    let mut row = rows.push(Choice::Random(draw), Some(1), Some(5)).expect("in range");
    let penalties = RowPenalties { repetition: 1.5, presence: 0.5, frequency: -0.5 };
    row.allow([0, 33, 69, 70]).expect("short");
    row.exclude([
        Exclusion { token: 8, after: Some(7) },
        Exclusion { token: 99, after: None },
        Exclusion { token: 6, after: None },
    ])
    .expect("short");
    row.bias([(2, -1.0)]).expect("short");
    row.penalise(penalties, [1, 2, 3]).expect("short");
    row.outputs([OutputToken::Known(5), OutputToken::Sampled { slot: 3 }]).expect("in range");
    assert_eq!(rows.orders()[..ROW_WORDS], [0; ROW_WORDS]);
    let bits = f32::to_bits;
    let expected = [
        [RANDOM, bits(2.0), bits(0.25), 9],
        [bits(0.75), 2, 1, 3],
        [4, 0, 5, 1],
        [bits(1.5), bits(0.5), bits(-0.5), 0],
        [3, 2, 7, 1],
        [9, 3, 12, 2],
    ];
    assert_eq!(rows.orders()[ROW_WORDS..], expected.concat());
    let lists = [1, 2, 32, 8, 7, 6, NONE, 2, bits(-1.0), 1, 2, 3, 5, SAMPLED + 3];
    assert_eq!(rows.lists(), lists);
    rows.clear();
    assert!(rows.is_empty() && rows.lists().is_empty());
}

#[test]
fn a_greedy_or_scored_row_without_rules_points_to_nothing() {
    let mut rows = SamplingRows::new(70, 4).expect("in range");
    rows.push(Choice::Greedy, Some(0), None).expect("in range");
    rows.push(Choice::Score { target: 69 }, None, Some(0)).expect("in range");
    let one = 1.0_f32.to_bits();
    let mut greedy = [0; ROW_WORDS];
    (greedy[0], greedy[1], greedy[4], greedy[10]) = (GREEDY, one, one, NONE);
    (greedy[12], greedy[15]) = (one, NONE);
    assert_eq!(rows.orders()[..ROW_WORDS], greedy);
    let score = &rows.orders()[ROW_WORDS..];
    assert_eq!((score[0], score[9], score[10], score[11]), (SCORE, 69, 0, NONE));
    assert!(rows.lists().is_empty());
}

#[test]
fn what_is_out_of_range_is_refused() {
    assert!(SamplingRows::new((1 << 20) + 1, 4).is_err());
    assert!(SamplingRows::new(70, 1 << 31).is_err());
    let mut rows = SamplingRows::new(70, 4).expect("in range");
    assert!(rows.push(Choice::Greedy, Some(4), None).is_err());
    assert!(rows.push(Choice::Greedy, None, Some(21)).is_err());
    assert!(rows.push(Choice::Score { target: 70 }, None, None).is_err());
    assert!(rows.is_empty());
    let mut row = rows.push(Choice::Greedy, None, None).expect("in range");
    assert!(row.outputs([OutputToken::Sampled { slot: 4 }]).is_err());
    assert!(row.outputs([OutputToken::Known(70)]).is_err());
    assert!(row.allow_mask(&[0; 2]).is_err());
}

#[test]
fn a_bad_word_excludes_its_end_once_the_rest_has_come() {
    let exclusion =
        |word: &[u32], outputs| Exclusion::of_word(word.iter().copied(), outputs).expect("it is decided");
    let always = Some(Exclusion { token: 3, after: None });
    assert_eq!(exclusion(&[3], known(&[])), always);
    assert_eq!(exclusion(&[1, 2, 3], known(&[9, 1, 2])), always);
    assert_eq!(exclusion(&[1, 2, 3], known(&[2])), None);
    assert_eq!(exclusion(&[1, 2, 3], known(&[2, 2])), None);
    assert_eq!(exclusion(&[], known(&[2, 2])), None);
}

/// Goal: the host need not wait for the last step's token to forbid a word.
#[test]
fn a_word_that_hangs_on_an_unknown_token_is_decided_on_the_device() {
    let outputs = || known(&[9, 1]).chain([OutputToken::Sampled { slot: 0 }]);
    let exclusion = |word: &[u32]| Exclusion::of_word(word.iter().copied(), outputs());
    let after = Some(Exclusion { token: 3, after: Some(2) });
    assert!(matches!(exclusion(&[1, 2, 3]), Ok(found) if found == after));
    assert!(matches!(exclusion(&[2, 3]), Ok(found) if found == after));
    assert!(matches!(exclusion(&[8, 2, 3]), Ok(None)));
    let unknown = || [OutputToken::Sampled { slot: 0 }, OutputToken::Known(2)].into_iter();
    assert!(Exclusion::of_word([1, 2, 3].into_iter(), unknown()).is_err());
}
