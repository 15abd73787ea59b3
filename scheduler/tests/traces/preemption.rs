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
