//! Blocks that several sequences use: the prefix cache, and siblings of one request.

use expect_test::expect;

use crate::check;

/// Goal: a later prompt begins with the blocks of an earlier one, also after that has ended, and leaves at least one
/// token to compute. Method: `c` is the whole of what is cached; `d` has another salt.
#[test]
fn finds_the_prefix_of_an_earlier_prompt() {
    check(
        "
        pool block_size=4
        submit a prompt=10 shared=9
        step
        submit b prompt=12 shared=9
        step
        abort a
        abort b
        submit c prompt=8 shared=8
        submit d prompt=10 shared=9 salt=other
        step
        stats
        ",
        &expect![[r#"
            step 1: prefill a[0..10]             free 97
            step 2: prefill b[8..12] cached 8; decode a[10..11]    free 96
            step 3: prefill c[4..8] cached 4 d[0..10]    free 95
            running 2 waiting 0 used 5 cached 5 preemptions 0 prefix 12/40 idle false
        "#]],
    );
}

/// Goal: who wants the logits of a whole prompt computes all of it; siblings and later prompts share it all the same.
/// Method: `b` and its choices begin like `a`, and so does `c`.
#[test]
fn a_prompt_that_is_computed_whole_is_still_shared() {
    check(
        "
        pool block_size=4
        submit a prompt=9 shared=9
        step
        abort a
        submit b prompt=9 shared=9 n=2 prefix=compute
        step
        step
        submit c prompt=9 shared=9
        step
        stats
        ",
        &expect![[r#"
            step 1: prefill a[0..9]              free 97
            step 2: prefill b[0..9]              free 97
            step 3: prefill b.1[8..9] cached 8; decode b[9..10]    free 94
            step 4: prefill c[8..9] cached 8; decode b[10..11] b.1[9..10]    free 93
            running 3 waiting 0 used 7 cached 2 preemptions 0 prefix 16/27 idle false
        "#]],
    );
}

/// Goal: blocks are found only once their step is complete. Method: `b` is planned while `a`'s prompt is in flight.
#[test]
fn blocks_in_flight_are_not_shared() {
    check(
        "
        pool block_size=4 depth=2
        submit a prompt=9 shared=9
        plan
        submit b prompt=9 shared=9
        plan
        done
        submit c prompt=9 shared=9
        plan
        ",
        &expect![[r#"
            step 1: prefill a[0..9]              free 97
            step 2: prefill b[0..9]; decode a[9..10]<-row0    free 94
            step 3: prefill c[8..9] cached 8; decode a[10..11]<-row0 b[9..10]<-row1    free 93
        "#]],
    );
}

/// Goal: freed blocks keep their content until they are needed, the longest unused go first, and of one sequence its
/// last ones. Method: `c` needs one block more than are without content.
#[test]
fn reuses_the_longest_unused_block_first() {
    check(
        "
        pool blocks=5 block_size=4
        submit a prompt=9
        step a=end
        submit b prompt=5
        step b=end
        stats
        submit c prompt=12
        step
        table c
        stats
        ",
        &expect![[r#"
            step 1: prefill a[0..9]              free 2
            done 1: a ends (stop)
            step 2: prefill b[0..5]              free 3
            done 2: b ends (stop)
            running 0 waiting 0 used 0 cached 3 preemptions 0 prefix 0/14 idle true
            step 3: prefill c[0..12]             free 2
            table c: Some([3, 4, 1])
            running 1 waiting 0 used 3 cached 5 preemptions 0 prefix 0/26 idle false
        "#]],
    );
}

/// Goal: siblings wait for the prompt and share its full blocks, with and without a prefix cache.
#[test]
fn siblings_share_the_blocks_of_their_prompt() {
    check(
        "
        pool block_size=4 budget=6 seqs=4 cache=off
        submit a prompt=10 n=3
        step
        stats
        step
        step
        table a
        table a.1
        table a.2
        finish a
        stats
        abort a
        stats
        ",
        &expect![[r#"
            step 1: prefill a[0..6]              free 97
            running 1 waiting 2 used 3 cached 0 preemptions 0 prefix 0/0 idle false
            step 2: prefill a[6..10]             free 97
            step 3: prefill a.1[8..10] cached 8 a.2[8..10] cached 8; decode a[10..11]    free 95
            table a: Some([0, 1, 2])
            table a.1: Some([0, 1, 3])
            table a.2: Some([0, 1, 4])
            running 2 waiting 0 used 4 cached 0 preemptions 0 prefix 0/0 idle false
            running 0 waiting 0 used 0 cached 0 preemptions 0 prefix 0/0 idle true
        "#]],
    );
}

/// Goal: siblings go on without their leader if it ends before its prompt is computed.
#[test]
fn siblings_proceed_when_their_leader_is_gone() {
    check(
        "
        pool block_size=4 budget=6 seqs=4
        submit a prompt=10 n=3
        step
        finish a
        step
        step
        step
        stats
        ",
        &expect![[r#"
            step 1: prefill a[0..6]              free 97
            step 2: prefill a.1[4..10] cached 4    free 97
            step 3: prefill a.2[8..10] cached 8; decode a.1[10..11]    free 96
            step 4: decode a.1[11..12] a.2[10..11]    free 96
            running 2 waiting 0 used 4 cached 3 preemptions 0 prefix 12/30 idle false
        "#]],
    );
}

/// Goal: a leader that ends with its first token leaves its prompt to its siblings, through the prefix cache.
#[test]
fn siblings_find_the_prompt_of_a_leader_that_has_ended() {
    check(
        "
        pool block_size=4
        submit a prompt=10 n=2 max=1
        step
        step
        stats
        ",
        &expect![[r#"
            step 1: prefill a[0..10]             free 97
            done 1: a ends (length)
            step 2: prefill a.1[8..10] cached 8    free 97
            done 2: a.1 ends (length)
            running 0 waiting 0 used 0 cached 2 preemptions 0 prefix 8/20 idle true
        "#]],
    );
}
