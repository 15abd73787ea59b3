//! One token budget for decodes and chunks of prompts.

use expect_test::expect;

use crate::check;

/// Goal: decodes and a long prompt share steps. Method: `b` arrives while `a` decodes, and is longer than the budget.
#[test]
fn mixes_decodes_and_chunks_in_one_step() {
    check(
        "
        pool blocks=20 block_size=4 budget=8
        submit a prompt=5
        step
        submit b prompt=18
        step
        step
        step
        step a=end
        step
        ",
        &expect![[r#"
            step 1: prefill a[0..5]              free 18
            step 2: prefill b[0..7]; decode a[5..6]    free 13
            step 3: prefill b[7..14]; decode a[6..7]    free 13
            step 4: prefill b[14..18]; decode a[7..8]    free 13
            step 5: decode a[8..9] b[18..19]     free 12
            done 5: a ends (stop)
            step 6: decode b[19..20]             free 15
        "#]],
    );
}

/// Goal: a prompt that goes first leaves every decode behind it its token.
/// Method: `a` arrives last, but is of a higher class, and longer than the budget.
#[test]
fn a_prompt_leaves_the_decodes_behind_it_their_tokens() {
    check(
        "
        pool blocks=20 block_size=4 budget=6 seqs=4
        submit b prompt=1
        submit c prompt=1
        step
        submit a prompt=14 priority=high
        step
        step
        step
        step
        step
        ",
        &expect![[r#"
            step 1: prefill b[0..1] c[0..1]      free 18
            step 2: prefill a[0..4]; decode b[1..2] c[1..2]    free 14
            step 3: prefill a[4..8]; decode b[2..3] c[2..3]    free 14
            step 4: prefill a[8..12]; decode b[3..4] c[3..4]    free 14
            step 5: prefill a[12..14]; decode b[4..5] c[4..5]    free 12
            step 6: decode a[14..15] b[5..6] c[5..6]    free 12
        "#]],
    );
}

/// Goal: a long prompt takes at most `chunk` tokens of a step, so that shorter ones pass it.
#[test]
fn a_threshold_lets_short_prompts_pass_a_long_one() {
    check(
        "
        pool blocks=20 block_size=4 budget=16 chunk=6
        submit long prompt=20
        submit short prompt=6
        step
        step
        step
        step
        ",
        &expect![[r#"
            step 1: prefill long[0..6] short[0..6]    free 13
            step 2: prefill long[6..12]; decode short[6..7]    free 13
            step 3: prefill long[12..18]; decode short[7..8]    free 13
            step 4: prefill long[18..20]; decode short[8..9]    free 12
        "#]],
    );
}

/// Goal: no more sequences run at once than may.
#[test]
fn admits_as_many_sequences_as_may_run() {
    check(
        "
        pool blocks=20 seqs=2
        submit a prompt=3
        submit b prompt=3
        submit c prompt=3
        step
        step a=end
        step
        ",
        &expect![[r#"
            step 1: prefill a[0..3] b[0..3]      free 18
            step 2: decode a[3..4] b[3..4]       free 18
            done 2: a ends (stop)
            step 3: prefill c[0..3]; decode b[4..5]    free 17
        "#]],
    );
}

/// Goal: a row may bring several tokens; those not computed yet are computed together.
#[test]
fn tokens_that_came_together_are_computed_together() {
    check(
        "
        pool blocks=20 block_size=4
        submit a prompt=3 max=6
        step a=x3
        step
        step a=x9
        stats
        ",
        &expect![[r#"
            step 1: prefill a[0..3]              free 19
            done 1: a takes tokens 0..3
            step 2: decode a[3..6]               free 18
            step 3: decode a[6..7]               free 18
            done 3: a takes tokens 0..2, a ends (length)
            running 0 waiting 0 used 0 cached 1 preemptions 0 prefix 0/3 idle true
        "#]],
    );
}

/// Goal: a sampling row that brings nothing is planned again, for its last token only.
#[test]
fn samples_again_when_no_token_came() {
    check(
        "
        pool blocks=20 block_size=4
        submit a prompt=6
        step a=none
        step a=none
        step
        step
        ",
        &expect![[r#"
            step 1: prefill a[0..6]              free 18
            done 1: a takes nothing
            step 2: prefill a[5..6]              free 18
            done 2: a takes nothing
            step 3: prefill a[5..6]              free 18
            step 4: decode a[6..7]               free 18
        "#]],
    );
}
