//! Goal: a sequence's logits do not depend on how it was computed. Method: random tiny models; bits are compared.

use std::num::NonZeroUsize;

use spillway_kernels::{CpuOptions, DType, Quantisation, WeightType};
use spillway_types::{BlockId, Sampling, Seed, SeqId, TokenId};

use super::*;
use crate::arch;
use crate::batch::{BatchRow as ForwardRow, RowSampling};
use crate::dummy::DummyWeights;
use crate::load::DtypePolicy;
use crate::spec::tests::small_spec;
use crate::spec::{Activation, Attention, ExpertWeighting, FeedForward, LayerSpec, Norms, Rope, RopeScaling};
use crate::tensor_source::TensorSource;

#[cfg(feature = "cuda")]
mod gpu;
#[cfg(feature = "cuda")]
mod gpu_sampling;

const MAX_LEN: usize = 96;
/// How sequences are computed.
#[derive(Debug, Clone, Copy)]
struct Way {
    /// Most tokens of a row in one step.
    chunk: usize,
    block_size: u32,
    kv_dtype: DType,
}

fn decoder(weight_type: WeightType) -> Decoder {
    decoder_of(small_spec(), weight_type)
}

fn decoder_of(spec: DecoderSpec, weight_type: WeightType) -> Decoder {
    let device = Device::cpu(&CpuOptions::default()).expect("the processor is there");
    decoder_on(device, spec, weight_type, DtypePolicy::Auto)
}

fn decoder_on(device: Device, spec: DecoderSpec, weight_type: WeightType, policy: DtypePolicy) -> Decoder {
    quantised_on(device, spec, weight_type, (policy, None))
}

fn quantised_on(
    device: Device,
    spec: DecoderSpec,
    weight_type: WeightType,
    (policy, quantisation): (DtypePolicy, Option<Quantisation>),
) -> Decoder {
    let dummy = DummyWeights::new(11, weight_type);
    let loader = WeightLoader {
        device: &device,
        source: TensorSource::Dummy(&dummy),
        names: &arch::ALL[0].hf.names,
        policy,
        quantisation,
    };
    let weights = DecoderWeights::load(&loader, &spec).expect("dummy weights always load");
    let limits = RunnerLimits { max_num_batched_tokens: 300, max_num_seqs: 4, max_model_len: MAX_LEN as u32 };
    Decoder::new(device, spec, weights, limits).expect("it is small")
}

fn sequence(seq_idx: u32, len: u32) -> Vec<u32> {
    (0..len).map(|i| (i * 37 + seq_idx * 61 + i * i * 5) % 200).collect()
}

/// Computes all sequences side by side and answers with the logits after the last token of each.
fn last_logits(decoder: &mut Decoder, sequences: &[Vec<u32>], way: Way) -> Vec<Vec<f32>> {
    let block_size = BlockSize::try_from(way.block_size).expect("a power of two");
    let blocks_per_row = block_size.blocks_for(MAX_LEN as u32);
    let num_blocks = blocks_per_row * sequences.len() as u32;
    let layout = decoder.spec().kv_layout(way.kv_dtype);
    let mut kv = KvCache::new(&decoder.device.clone(), &layout, block_size, num_blocks).expect("it is small");
    let mut logits = vec![Vec::new(); sequences.len()];
    let mut start = 0;
    while sequences.iter().any(|tokens| tokens.len() > start) {
        let (batch, finished) = step(sequences, start, way.chunk, blocks_per_row);
        let mut num_done = 0;
        let mut sink = |computed: Logits<'_>| {
            for (seq_idx, row) in finished[num_done..].iter().zip(computed.rows()) {
                logits[*seq_idx] = row.to_vec();
            }
            num_done += computed.rows().len();
        };
        decoder.forward(&batch, &mut kv, &mut sink).expect("the step is fine");
        assert_eq!(num_done, finished.len());
        start += way.chunk;
    }
    logits
}

/// The batch that takes every sequence from `start` on, and which of them end in it.
fn step(
    sequences: &[Vec<u32>],
    start: usize,
    chunk: usize,
    blocks_per_row: u32,
) -> (ForwardBatch, Vec<usize>) {
    let mut batch = ForwardBatch::default();
    let mut finished = Vec::new();
    for (seq_idx, tokens) in sequences.iter().enumerate().filter(|(_, tokens)| tokens.len() > start) {
        let end = tokens.len().min(start + chunk);
        let (first_token, first_block) = (batch.tokens.len() as u32, batch.block_ids.len() as u32);
        batch.tokens.extend(tokens[start..end].iter().map(|&id| InputToken::Known(TokenId(id))));
        batch.positions.extend(start as u32..end as u32);
        // Blocks of different sequences lie between one another, and in falling order.
        let num_seqs = sequences.len() as u32;
        let block = |i| BlockId((blocks_per_row - 1 - i) * num_seqs + seq_idx as u32);
        batch.block_ids.extend((0..blocks_per_row).map(block));
        let is_last = end == tokens.len();
        if is_last {
            finished.push(seq_idx);
        }
        batch.rows.push(ForwardRow {
            seq_id: SeqId(seq_idx as u64),
            tokens: first_token..batch.tokens.len() as u32,
            kv_len: end as u32,
            blocks: first_block..batch.block_ids.len() as u32,
            score: None,
            sample: is_last.then_some(RowSampling {
                sampling: Sampling::Greedy,
                seed: Seed(0),
                choice: 0,
                position: end as u32,
                logprobs: None,
                rules: None,
                outputs: 0..0,
            }),
        });
    }
    (batch, finished)
}

/// Fails, naming the first logit, unless all bits are equal.
fn assert_same_bits(expected: &[f32], actual: &[f32], context: &str) {
    assert_eq!(expected.len(), actual.len(), "{context}");
    for (i, (a, b)) in expected.iter().zip(actual).enumerate() {
        assert_eq!(a.to_bits(), b.to_bits(), "{context}: logit {i} is {b}, expected {a}");
    }
}

/// Computes sequences alone and whole, then together in every other way, and compares.
fn check_company(spec: &DecoderSpec, weight_type: WeightType, kv_dtypes: &[DType]) {
    let sequences = [sequence(0, 61), sequence(1, 5), sequence(2, 90), sequence(3, 1)];
    let mut decoder = decoder_of(spec.clone(), weight_type);
    for &kv_dtype in kv_dtypes {
        let whole = Way { chunk: MAX_LEN, block_size: 16, kv_dtype };
        let alone: Vec<Vec<f32>> = sequences
            .iter()
            .map(|tokens| last_logits(&mut decoder, std::slice::from_ref(tokens), whole).remove(0))
            .collect();
        assert!(alone.iter().flatten().all(|logit| logit.is_finite()));
        for chunk in [1, 7, 48, MAX_LEN] {
            for block_size in [8, 16, 32] {
                let way = Way { chunk, block_size, kv_dtype };
                // Company of four rows takes at most 300 tokens a step.
                let together = last_logits(&mut decoder, &sequences, way);
                for (seq_idx, (expected, actual)) in alone.iter().zip(&together).enumerate() {
                    let context = format!("{weight_type} {way:?} sequence {seq_idx}");
                    assert_same_bits(expected, actual, &context);
                }
            }
        }
    }
}

#[test]
fn logits_do_not_depend_on_company_chunks_or_block_size() {
    // Rows of these sizes are no whole blocks of 256.
    for weight_type in WeightType::ALL.into_iter().filter(|weight_type| weight_type.block_len() <= 32) {
        check_company(&small_spec(), weight_type, &[DType::F32, DType::F16, DType::BF16]);
    }
}

/// What the architectures do beyond Llama, all at once: as no model does.
fn rich_spec() -> DecoderSpec {
    let mut spec = small_spec();
    let long = RopeScaling::Long {
        short: vec![1.0, 2.0, 3.0, 4.0],
        long: vec![2.0, 4.0, 8.0, 16.0],
        original_max_positions: 32,
        attention_factor: 1.2,
    };
    spec.embedding_scale = Some(8.0);
    spec.norms = Norms::Sandwich;
    spec.attention = Attention { scale: 0.3, soft_cap: Some(2.0), qkv_bias: true, head_norms: true };
    spec.activation = Activation::GeluTanh;
    spec.ropes.push(Rope { theta: 1e6, rotary_dim: 8, scaling: long });
    spec.logit_soft_cap = Some(5.0);
    spec.tied_head = true;
    let experts = FeedForward::Experts {
        num_experts: 5,
        num_active: 2,
        size: 32,
        weighting: ExpertWeighting::OfChosen,
    };
    spec.layers = vec![
        LayerSpec { window: NonZeroUsize::new(13), rope_idx: 1, ..LayerSpec::plain(96) },
        LayerSpec { feed_forward: experts, ..LayerSpec::plain(96) },
        LayerSpec { window: NonZeroUsize::new(40), rope_idx: 0, feed_forward: experts },
    ];
    assert_eq!(spec.problem(), None);
    spec
}

#[test]
fn nothing_that_an_architecture_adds_looks_at_company() {
    for weight_type in [WeightType::F32, WeightType::BF16, WeightType::Q4_1] {
        check_company(&rich_spec(), weight_type, &[DType::F16]);
    }
}

#[test]
fn a_decoded_token_sees_what_a_prefill_of_the_same_tokens_sees() {
    let mut decoder = decoder(WeightType::Q4_1);
    for len in [2, 15, 16, 17, 33] {
        let tokens = [sequence(1, len)];
        let way = |chunk| Way { chunk, block_size: 16, kv_dtype: DType::F16 };
        let prefilled = last_logits(&mut decoder, &tokens, way(MAX_LEN));
        let decoded = last_logits(&mut decoder, &tokens, way(1));
        assert_same_bits(&prefilled[0], &decoded[0], &format!("{len} tokens"));
    }
}

/// Rounding a float at load gives the blocks that a file of that type would have.
#[test]
fn floats_in_int8_give_the_bits_of_a_file_in_q8_0() {
    let spec = DecoderSpec { tied_head: true, ..small_spec() };
    let device = || Device::cpu(&CpuOptions::default()).expect("the processor is there");
    let way = Way { chunk: MAX_LEN, block_size: 16, kv_dtype: DType::F16 };
    let as_int8 = (DtypePolicy::Auto, Some(Quantisation::Int8));
    let mut rounded = quantised_on(device(), spec.clone(), WeightType::F32, as_int8);
    let mut stored = decoder_on(device(), spec, WeightType::Q8_0, DtypePolicy::Auto);
    assert_eq!(rounded.weights.size_bytes(), stored.weights.size_bytes());
    let sequences = [sequence(0, 20)];
    let expected = last_logits(&mut stored, &sequences, way);
    assert_same_bits(&expected[0], &last_logits(&mut rounded, &sequences, way)[0], "int8");
}

#[test]
fn floats_in_int4_keep_their_table_and_take_eight_bits_for_the_head() {
    let device = Device::cpu(&CpuOptions::default()).expect("the processor is there");
    let as_int4 = (DtypePolicy::Auto, Some(Quantisation::Int4));
    let decoder = quantised_on(device, small_spec(), WeightType::BF16, as_int4);
    // Rows are filled up to whole panels.
    let table = small_spec().vocab_size.next_multiple_of(16) * small_spec().hidden_size;
    assert_eq!(decoder.weights.embedding.size_bytes(), 2 * table);
    let head = decoder.weights.head.as_ref().expect("it is untied").size_bytes();
    assert!((table..=table * 9 / 8).contains(&head), "{head} of {table}");
}

#[test]
fn a_tensor_whose_columns_cannot_be_quantised_is_named_with_the_mend() {
    let device = Device::cpu(&CpuOptions::default()).expect("the processor is there");
    let mut spec = small_spec();
    spec.layers = vec![LayerSpec::plain(72)];
    let dummy = DummyWeights::new(11, WeightType::BF16);
    let loader = WeightLoader {
        device: &device,
        source: TensorSource::Dummy(&dummy),
        names: &arch::ALL[0].hf.names,
        policy: DtypePolicy::Auto,
        quantisation: Some(Quantisation::Int4),
    };
    let error = DecoderWeights::load(&loader, &spec).expect_err("72 is no multiple of 32").to_string();
    let expected = "tensor `model.layers.0.mlp.down_proj.weight` with 72 columns in int4, which is not supported; columns \
                    must be a multiple of 32: serve this model with --quantization none";
    assert!(error.ends_with(expected), "{error}");
}

#[test]
fn the_past_matters() {
    let mut decoder = decoder(WeightType::F32);
    let way = Way { chunk: MAX_LEN, block_size: 16, kv_dtype: DType::F32 };
    let mut other = sequence(0, 20);
    let plain = last_logits(&mut decoder, &[other.clone()], way).remove(0);
    other[3] += 1;
    assert!(plain != last_logits(&mut decoder, &[other], way).remove(0));
}

#[test]
fn a_scale_of_embeddings_has_the_type_of_their_table() {
    let scale = 640.0_f32.sqrt();
    let rounded = |policy: DtypePolicy, weight_type| policy.rounded(scale, weight_type);
    assert_eq!(rounded(DtypePolicy::Auto, WeightType::BF16).to_bits(), 25.25_f32.to_bits());
    assert_eq!(rounded(DtypePolicy::Bf16, WeightType::F32).to_bits(), 25.25_f32.to_bits());
    assert_eq!(rounded(DtypePolicy::Auto, WeightType::Q8_0).to_bits(), scale.to_bits());
    assert_eq!(rounded(DtypePolicy::F32, WeightType::BF16).to_bits(), scale.to_bits());
}

#[test]
fn a_decoder_scales_embeddings_in_the_type_of_their_table() {
    let exact = 640.0_f32.sqrt();
    let spec = DecoderSpec { embedding_scale: Some(exact), ..small_spec() };
    let scale = |weight_type| decoder_of(spec.clone(), weight_type).weights.embedding_scale;
    assert_eq!(scale(WeightType::BF16).map(f32::to_bits), Some(25.25_f32.to_bits()));
    assert_eq!(scale(WeightType::F32).map(f32::to_bits), Some(exact.to_bits()));
}

#[test]
fn the_cap_of_logits_is_a_hyperbolic_tangent_of_what_they_were() {
    let logits = |cap| {
        let spec = DecoderSpec { logit_soft_cap: cap, ..small_spec() };
        let way = Way { chunk: MAX_LEN, block_size: 16, kv_dtype: DType::F32 };
        last_logits(&mut decoder_of(spec, WeightType::F32), &[sequence(0, 20)], way).remove(0)
    };
    let plain = logits(None);
    let cap = plain.iter().fold(0.0_f32, |largest, logit| largest.max(logit.abs())) / 2.0;
    for (capped, plain) in logits(Some(cap)).iter().zip(&plain) {
        assert!((capped - cap * (plain / cap).tanh()).abs() < 1e-5 * cap, "{capped}, before {plain}");
    }
}
