//! When blocks run out, the youngest gives way.

use expect_test::expect;

use crate::check;

/// Goal: when no block is free, the youngest sequence gives way, so the oldest always finishes.
/// Method: two prompts fill a pool of two blocks; the next token of `a` needs a third.
#[test]
fn preempts_youngest_when_pool_is_exhausted() {
    check(
        "
        pool blocks=2 block_size=4
        submit a prompt=4
        submit b prompt=4
        step
        step
        ",
        &expect![[r#"
            step 1: prefill a[0..4] b[0..4]      free 0
            step 2: preempt b; decode a[4..5]    free 0
        "#]],
    );
}

/// Goal: a preempted sequence goes on where it was, before all that came after it, with its blocks found again.
#[test]
fn resumes_the_preempted_before_the_younger() {
    check(
        "
        pool blocks=4 block_size=4
        submit a prompt=8
        submit b prompt=8
        submit c prompt=1
        step
        step
        step
        step a=end
        step
        ",
        &expect![[r#"
            step 1: prefill a[0..8] b[0..8]      free 0
            step 2: preempt b; decode a[8..9]    free 1
            step 3: decode a[9..10]              free 1
            step 4: decode a[10..11]             free 1
            done 4: a ends (stop)
            step 5: prefill b[4..9] resumed cached 4 c[0..1]    free 0
        "#]],
    );
}

/// Goal: the lower class gives way first, though it is older; in a step that preempts, nobody is admitted.
#[test]
fn preempts_the_lower_class_first() {
    check(
        "
        pool blocks=5 block_size=4
        submit low prompt=4 priority=low
        step
        submit a prompt=4
        submit b prompt=4
        step
        submit c prompt=1 priority=high
        step
        step
        ",
        &expect![[r#"
            step 1: prefill low[0..4]            free 4
            step 2: prefill a[0..4] b[0..4]; decode low[4..5]    free 1
            step 3: preempt low; decode a[4..5] b[4..5]    free 1
            step 4: prefill c[0..1]; decode a[5..6] b[5..6]    free 0
        "#]],
    );
}

/// Goal: a sequence that needs a block gives way itself if it is the last in line.
#[test]
fn the_last_in_line_preempts_itself() {
    check(
        "
        pool blocks=3 block_size=4 cache=off
        submit a prompt=6
        submit b prompt=4
        step
        step
        step a=end
        step
        ",
        &expect![[r#"
            step 1: prefill a[0..6] b[0..4]      free 0
            step 2: preempt b; decode a[6..7]    free 1
            step 3: decode a[7..8]               free 1
            done 3: a ends (stop)
            step 4: prefill b[0..5] resumed      free 1
        "#]],
    );
}
