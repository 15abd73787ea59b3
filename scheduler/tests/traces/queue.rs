//! Who is next.

use expect_test::expect;

use crate::check;

#[test]
fn higher_classes_go_first_and_older_ones_within_a_class() {
    check(
        "
        pool seqs=1
        submit low prompt=2 priority=low
        submit a prompt=2
        submit b prompt=2
        submit urgent prompt=2 priority=high
        step urgent=end
        step a=end
        step b=end
        step low=end
        ",
        &expect![[r#"
            step 1: prefill urgent[0..2]         free 99
            done 1: urgent ends (stop)
            step 2: prefill a[0..2]              free 99
            done 2: a ends (stop)
            step 3: prefill b[0..2]              free 99
            done 3: b ends (stop)
            step 4: prefill low[0..2]            free 99
            done 4: low ends (stop)
        "#]],
    );
}

/// Goal: nobody waits for ever. Method: after two intervals the low request stands before a younger urgent one.
#[test]
fn waiting_raises_the_class() {
    check(
        "
        pool seqs=1 ageing=10
        submit low prompt=2 priority=low
        wait 19
        submit urgent prompt=2 priority=high
        step urgent=end
        submit second prompt=2 priority=high
        wait 1
        step low=end
        step
        ",
        &expect![[r#"
            step 1: prefill urgent[0..2]         free 99
            done 1: urgent ends (stop)
            step 2: prefill low[0..2]            free 99
            done 2: low ends (stop)
            step 3: prefill second[0..2]         free 99
        "#]],
    );
}

/// Goal: the first in line is not overtaken by one that would fit, or it might never fit.
#[test]
fn nobody_overtakes_the_first_in_line() {
    check(
        "
        pool blocks=3 block_size=4
        submit a prompt=7
        step
        submit large prompt=8
        submit small prompt=2
        step
        step a=end
        step
        ",
        &expect![[r#"
            step 1: prefill a[0..7]              free 1
            step 2: decode a[7..8]               free 1
            step 3: decode a[8..9]               free 0
            done 3: a ends (stop)
            step 4: prefill large[0..8] small[0..2]    free 0
        "#]],
    );
}

/// Goal: the tokens in line are those that no step computes yet, less what the cache holds of them. Method: `a` takes
/// two steps; `b` has two of its blocks in the cache; `c` has siblings, which share its prompt.
#[test]
fn prompt_tokens_are_queued_until_a_step_computes_them() {
    check(
        "
        pool block_size=4 budget=8
        queued
        submit a prompt=13 shared=9
        queued
        step
        queued
        step
        queued
        submit b prompt=12 shared=9
        queued
        submit c prompt=6 n=3
        queued
        abort c
        queued
        abort b
        queued
        step
        queued
        ",
        &expect![[r#"
            queued 0
            queued 13
            step 1: prefill a[0..8]              free 96
            queued 5
            step 2: prefill a[8..13]             free 96
            queued 0
            queued 4
            queued 10
            queued 4
            queued 0
            step 3: decode a[13..14]             free 96
            queued 0
        "#]],
    );
}
