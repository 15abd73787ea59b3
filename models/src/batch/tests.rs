//! Batches that are well formed, and each way in which one is not.

use spillway_types::BlockSize;

use super::*;

fn limits() -> BatchLimits {
    BatchLimits {
        max_num_batched_tokens: 8,
        max_num_seqs: 2,
        vocab_size: 10,
        max_model_len: 64,
        block_size: BlockSize::try_from(4).expect("4 is a block size"),
        num_blocks: 6,
        num_previous_rows: 1,
    }
}

/// A decode row at position 4 and a prompt chunk of three tokens from position 0.
fn batch() -> ForwardBatch {
    let row = |seq, tokens, kv_len, blocks| BatchRow {
        seq_id: SeqId(seq),
        tokens,
        kv_len,
        blocks,
        score: None,
        sample: None,
    };
    ForwardBatch {
        tokens: vec![
            InputToken::Sampled { row: 0 },
            InputToken::Known(TokenId(9)),
            InputToken::Known(TokenId(0)),
            InputToken::Known(TokenId(3)),
        ],
        positions: vec![4, 0, 1, 2],
        rows: vec![row(1, 0..1, 5, 0..2), row(2, 1..4, 3, 2..3)],
        block_ids: vec![BlockId(5), BlockId(0), BlockId(2)],
        targets: Vec::new(),
        outputs: Vec::new(),
    }
}

fn message(spoil: impl FnOnce(&mut ForwardBatch)) -> String {
    let mut spoiled = batch();
    spoil(&mut spoiled);
    spoiled.check(&limits()).expect_err("the batch was spoiled").to_string()
}

#[test]
fn accepts_a_decode_row_beside_a_prompt_chunk() {
    assert_eq!(batch().check(&limits()), Ok(()));
    assert_eq!(ForwardBatch::default().check(&limits()), Ok(()));
}

#[test]
fn refuses_ids_outside_their_tables() {
    assert_eq!(
        message(|batch| batch.tokens[1] = InputToken::Known(TokenId(10))),
        "batch names 10 token, limit 9"
    );
    assert_eq!(message(|batch| batch.block_ids[2] = BlockId(6)), "batch names 6 block, limit 5");
    assert_eq!(
        message(|batch| batch.tokens[0] = InputToken::Sampled { row: 1 }),
        "batch names 1 previous row, limit 0"
    );
}

#[test]
fn refuses_positions_that_do_not_end_at_the_kv_length() {
    assert!(message(|batch| batch.positions[2] = 2).contains("row 1 has position 2 where 1"));
    assert!(message(|batch| batch.rows[0].kv_len = 6).contains("row 0 has position 4 where 5"));
    assert!(message(|batch| batch.rows[1].kv_len = 2).contains("row 1 has position 0 where -1"));
}

#[test]
fn refuses_ranges_that_overlap_or_leave_tokens_over() {
    assert!(message(|batch| batch.rows[1].tokens = 0..4).contains("row 1 are 0..4"));
    assert!(message(|batch| batch.rows[0].tokens = 0..0).contains("row 0 are 0..0"));
    assert!(message(|batch| batch.rows[1].tokens = 1..5).contains("row 1 are 1..5"));
    assert!(message(|batch| batch.rows.truncate(1)).contains("row 1 are 1..1"));
}

#[test]
fn refuses_a_block_table_too_short_for_the_kv_length() {
    assert!(message(|batch| batch.rows[0].blocks = 0..1).contains("needs 2"));
    assert!(message(|batch| batch.rows[1].blocks = 2..4).contains("blocks 2..4 of 3"));
}

#[test]
fn refuses_more_than_the_executor_was_built_for() {
    let small = BatchLimits { max_num_batched_tokens: 3, ..limits() };
    assert_eq!(
        batch().check(&small).map_err(|error| error.to_string()),
        Err("batch names 4 tokens, limit 3".into())
    );
    let short = BatchLimits { max_model_len: 4, ..limits() };
    assert!(batch().check(&short).is_err());
}
