//! The gather against its reference, for every type of table.

use super::*;
use crate::batch::BatchLimits;
use crate::ops::testing::{Random, batch_of_tokens, devices, tensor, values};
use crate::weight::{ComputeType, WeightSource, WeightType};

/// Nothing: on the CPU the host knows all tokens.
fn feed(device: &Device) -> TokenFeed {
    let limits = BatchLimits { max_tokens: 1, max_rows: 1, max_blocks: 1, block_size: 1 };
    TokenFeed::new(device, &limits).expect("it takes no memory")
}

#[test]
fn gathers_rows_of_float_tables_unchanged() {
    let mut random = Random(1);
    let (vocab, hidden) = (37, 24);
    let table = random.numbers(vocab * hidden);
    let bytes: Vec<u8> = table.iter().flat_map(|number| number.to_le_bytes()).collect();
    for device in devices() {
        let source = WeightSource::new(WeightType::F32, [vocab, hidden], &bytes).expect("bytes fit");
        let weight = PackedWeight::pack(&device, &[source], ComputeType::F32).expect("packs");
        for num_tokens in [0, 1, 9, 40] {
            let tokens: Vec<u32> = (0..num_tokens).map(|_| random.below(vocab) as u32).collect();
            let mut out = tensor(&device, [tokens.len(), hidden], &vec![f32::NAN; tokens.len() * hidden]);
            embed(&device, &batch_of_tokens(&tokens), &mut feed(&device), &weight, None, out.view_mut())
                .expect("arguments fit");
            let expected: Vec<f32> = tokens
                .iter()
                .flat_map(|&token| &table[token as usize * hidden..(token as usize + 1) * hidden])
                .copied()
                .collect();
            assert_eq!(values(&out), expected);
            let scale = Some(25.25);
            embed(&device, &batch_of_tokens(&tokens), &mut feed(&device), &weight, scale, out.view_mut())
                .expect("arguments fit");
            let expected: Vec<f32> = expected.iter().map(|x| x * 25.25).collect();
            assert_eq!(values(&out), expected);
        }
    }
}

#[test]
fn refuses_a_token_past_the_table() {
    let device = devices().remove(0);
    let source = WeightSource::new(WeightType::F32, [2, 1], &[0; 8]).expect("bytes fit");
    let weight = PackedWeight::pack(&device, &[source], ComputeType::F32).expect("packs");
    let mut out = tensor(&device, [1, 1], &[0.0]);
    let error = embed(&device, &batch_of_tokens(&[2]), &mut feed(&device), &weight, None, out.view_mut())
        .expect_err("no such token");
    assert_eq!(error.to_string(), "`token` is 2, limit 1");
}
