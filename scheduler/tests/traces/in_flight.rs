//! Steps that are planned before the one before them has brought its tokens.

use expect_test::expect;

use crate::check;

/// Goal: a decode is planned for a token that has not come back, and names the row that samples it.
/// Method: two steps in flight; a third must wait.
#[test]
fn plans_one_step_ahead_of_the_results() {
    check(
        "
        pool depth=2 block_size=4
        submit a prompt=4
        submit b prompt=3
        plan
        plan
        plan
        done
        plan
        done a=end
        plan
        done
        done
        ",
        &expect![[r#"
            step 1: prefill a[0..4] b[0..3]      free 98
            step 2: decode a[4..5]<-row0 b[3..4]<-row1    free 97
            nothing to plan
            step 3: decode a[5..6]<-row0 b[4..5]<-row1    free 96
            done 2: a ends (stop)
            step 4: decode b[5..6]<-row1         free 98
            done 3: a takes nothing
        "#]],
    );
}

/// Goal: the row that was planned for a sequence before its end was known comes to nothing, and its blocks are lent
/// again at once.
#[test]
fn a_row_planned_past_the_end_is_dropped() {
    check(
        "
        pool blocks=2 depth=2 block_size=4
        submit a prompt=3
        plan
        plan
        done a=end
        submit b prompt=8
        plan
        done
        done
        stats
        ",
        &expect![[r#"
            step 1: prefill a[0..3]              free 1
            step 2: decode a[3..4]<-row0         free 1
            done 1: a ends (stop)
            step 3: prefill b[0..8]              free 0
            done 2: a takes nothing
            done 3: b ends (length)
            running 0 waiting 0 used 0 cached 2 preemptions 0 prefix 0/11 idle true
        "#]],
    );
}

/// Goal: no row is planned past `max_tokens`, since that end is foreseen.
#[test]
fn plans_nothing_past_a_foreseen_end() {
    check(
        "
        pool depth=2
        submit a prompt=3 max=2
        plan
        plan
        done
        plan
        done
        stats
        ",
        &expect![[r#"
            step 1: prefill a[0..3]              free 99
            step 2: decode a[3..4]<-row0         free 99
            nothing to plan
            done 2: a ends (length)
            running 0 waiting 0 used 0 cached 1 preemptions 0 prefix 0/3 idle true
        "#]],
    );
}

/// Goal: a token that was in flight when its sequence was preempted is kept, and kept once.
/// Method: `b` is preempted in step 2 while step 1 samples its fifth token; when resumed, it computes five.
#[test]
fn a_token_in_flight_survives_a_preemption() {
    check(
        "
        pool blocks=2 depth=2 block_size=4
        submit a prompt=4 max=3
        submit b prompt=4 max=3
        plan
        plan
        done
        plan
        done
        plan
        done
        plan
        done
        plan
        done
        plan
        done
        stats
        ",
        &expect![[r#"
            step 1: prefill a[0..4] b[0..4]      free 0
            step 2: preempt b; decode a[4..5]<-row0    free 0
            step 3: decode a[5..6]<-row0         free 0
            nothing to plan
            done 3: a ends (length)
            step 4: prefill b[0..5] resumed      free 0
            step 5: decode b[5..6]               free 0
            done 5: b ends (length)
            nothing to plan
            running 0 waiting 0 used 0 cached 1 preemptions 1 prefix 0/8 idle true
        "#]],
    );
}

/// Goal: a preempted sequence ends in the queue when the token in flight is an end.
#[test]
fn a_preempted_sequence_can_end_in_the_queue() {
    check(
        "
        pool blocks=2 depth=2 block_size=4
        submit a prompt=4
        submit b prompt=4
        plan
        plan
        done b=end
        stats
        ",
        &expect![[r#"
            step 1: prefill a[0..4] b[0..4]      free 0
            step 2: preempt b; decode a[4..5]<-row0    free 0
            done 1: b ends (stop)
            running 1 waiting 0 used 2 cached 1 preemptions 1 prefix 0/8 idle false
        "#]],
    );
}

/// Goal: with three steps in flight, a preempted sequence is not resumed before all its tokens are back.
#[test]
fn a_preempted_sequence_waits_for_its_rows() {
    check(
        "
        pool blocks=3 depth=3 block_size=2 cache=off
        submit a prompt=2
        submit b prompt=2
        plan
        plan
        abort a
        plan
        done
        plan
        done
        ",
        &expect![[r#"
            step 1: prefill a[0..2] b[0..2]      free 1
            step 2: preempt b; decode a[2..3]<-row0    free 1
            nothing to plan
            done 1: a takes nothing
            step 3: prefill b[0..3] resumed      free 1
            done 2: a takes nothing
        "#]],
    );
}

/// Goal: with a broken step its sequences end, the others go on.
#[test]
fn a_failed_step_ends_its_sequences_only() {
    check(
        "
        pool depth=2 block_size=4
        submit a prompt=4
        plan
        submit b prompt=4
        plan
        fail 1
        done
        step
        stats
        ",
        &expect![[r#"
            step 1: prefill a[0..4]              free 99
            step 2: prefill b[0..4]; decode a[4..5]<-row0    free 97
            fail 1: a end (error)
            done 2: a takes nothing
            step 3: decode b[4..5]               free 98
            running 1 waiting 0 used 2 cached 1 preemptions 0 prefix 0/8 idle false
        "#]],
    );
}

/// Goal: an aborted request holds nothing, whatever is in flight.
#[test]
fn an_abort_frees_blocks_at_once() {
    check(
        "
        pool depth=2 block_size=4
        submit a prompt=9
        plan
        plan
        abort a
        stats
        done
        done
        stats
        ",
        &expect![[r#"
            step 1: prefill a[0..9]              free 97
            step 2: decode a[9..10]<-row0        free 97
            running 0 waiting 0 used 0 cached 0 preemptions 0 prefix 0/9 idle false
            done 1: a takes nothing
            done 2: a takes nothing
            running 0 waiting 0 used 0 cached 0 preemptions 0 prefix 0/9 idle true
        "#]],
    );
}

/// Goal: a step that cannot be launched takes only its own sequences with it, while the one before it is in flight.
#[test]
fn the_newest_step_can_fail_before_the_oldest_is_complete() {
    check(
        "
        pool depth=2 block_size=4
        submit a prompt=4 max=1
        plan
        submit b prompt=4
        plan
        fail 2
        done
        submit c prompt=4
        step
        stats
        ",
        &expect![[r#"
            step 1: prefill a[0..4]              free 99
            step 2: prefill b[0..4]              free 98
            fail 2: b end (error)
            done 1: a ends (length)
            step 3: prefill c[0..4]              free 99
            running 1 waiting 0 used 1 cached 2 preemptions 0 prefix 0/12 idle false
        "#]],
    );
}
