//! What is refused, and where sequences end.

use expect_test::expect;

use crate::check;

#[test]
fn refuses_what_can_never_or_not_now_be_served() {
    check(
        "
        pool blocks=4 block_size=4 max_len=20 waiting=2
        submit empty prompt=0
        submit long prompt=20
        submit large prompt=17
        submit a prompt=16
        submit b prompt=1 n=3
        submit c prompt=1
        ",
        &expect![[r#"
            refuse empty: prompt is empty, must have at least one token
            refuse long: prompt has 20 tokens, limit 19; shorten it
            refuse large: prompt needs 5 blocks of KV cache, limit 4; shorten it or enlarge the cache
            refuse c: queue is full (2 waiting, limit 2), try again later
        "#]],
    );
}

/// Goal: a queue that was full has room again when a request runs or is gone.
#[test]
fn a_place_in_the_queue_comes_free() {
    check(
        "
        pool waiting=1
        submit a prompt=4
        submit b prompt=4
        step
        submit c prompt=4
        submit d prompt=4
        abort c
        submit e prompt=4
        ",
        &expect![[r#"
            refuse b: queue is full (1 waiting, limit 1), try again later
            step 1: prefill a[0..4]              free 99
            refuse d: queue is full (1 waiting, limit 1), try again later
        "#]],
    );
}

/// Goal: a sequence alone in a pool that is smaller than the context ends with `length`, when the pool is full.
#[test]
fn a_sequence_that_fills_the_pool_ends() {
    check(
        "
        pool blocks=2 block_size=4 max_len=100
        submit a prompt=6
        step
        step
        step
        stats
        ",
        &expect![[r#"
            step 1: prefill a[0..6]              free 0
            step 2: decode a[6..7]               free 0
            step 3: decode a[7..8]               free 0
            done 3: a ends (length)
            running 0 waiting 0 used 0 cached 2 preemptions 0 prefix 0/6 idle true
        "#]],
    );
}

#[test]
fn a_sequence_ends_at_the_context_length() {
    check(
        "
        pool block_size=4 max_len=6
        submit a prompt=4
        step
        step
        stats
        ",
        &expect![[r#"
            step 1: prefill a[0..4]              free 99
            step 2: decode a[4..5]               free 98
            done 2: a ends (length)
            running 0 waiting 0 used 0 cached 1 preemptions 0 prefix 0/4 idle true
        "#]],
    );
}

/// Goal: an end token is the reason, even where the length would end the sequence as well.
#[test]
fn an_end_token_goes_before_the_length() {
    check(
        "
        pool block_size=4
        submit a prompt=4 max=1
        step a=end
        ",
        &expect![[r#"
            step 1: prefill a[0..4]              free 99
            done 1: a ends (stop)
        "#]],
    );
}
