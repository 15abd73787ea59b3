//! Goal: a GPU computes what the CPU computes. Method: the same random tiny models on both; the GPU is the emulated one.

use spillway_emulated_driver::EmulatedDriver;
use spillway_kernels::cuda::{ArenaSize, CudaConfig, LaunchOverlap, Products};

use super::*;

pub(super) const PLAIN: CudaConfig = CudaConfig {
    ordinal: 0,
    arena: ArenaSize::Bytes(64 << 20),
    products: Products::Fastest,
    overlap: LaunchOverlap::Overlapped,
    records_steps: false,
};

/// The emulated GPU; none where there is no C++ compiler.
pub(super) fn gpu(config: CudaConfig) -> Option<Device> {
    EmulatedDriver::load().expect("the stand-in can be built and loaded")?;
    Some(Device::cuda(config).expect("the emulated device opens"))
}

/// A model whose heads are of a size that GPUs take.
pub(super) fn wide_spec() -> DecoderSpec {
    let mut spec = small_spec();
    (spec.num_heads, spec.num_kv_heads, spec.head_dim) = (4, 2, 64);
    // Sharper than models are, so that logits depend on which keys a query likes.
    spec.attention = Attention { scale: 1.0, ..Attention::plain(64) };
    spec.ropes[0].rotary_dim = 64;
    spec
}

/// What architectures do beyond Llama, but for experts.
fn rich_dense_spec() -> DecoderSpec {
    let mut spec = rich_spec();
    spec.head_dim = 64;
    spec.ropes[0].rotary_dim = 64;
    spec.layers = vec![
        LayerSpec { window: NonZeroUsize::new(13), rope_idx: 1, ..LayerSpec::plain(96) },
        LayerSpec { window: NonZeroUsize::new(40), ..LayerSpec::plain(96) },
    ];
    assert_eq!(spec.problem(), None);
    spec
}

fn way(chunk: usize, kv_dtype: DType) -> Way {
    Way { chunk, block_size: 16, kv_dtype }
}

/// How far `actual` is from `expected`, as a part of the latter's size.
fn distance(expected: &[f32], actual: &[f32]) -> f64 {
    assert_eq!(expected.len(), actual.len());
    let square = |x: f32| f64::from(x).powi(2);
    let error: f64 = expected.iter().zip(actual).map(|(a, b)| square(a - b)).sum();
    let size: f64 = expected.iter().map(|a| square(*a)).sum();
    (error / size).sqrt()
}

/// Compares a GPU with the CPU over prefills, chunks and decodes, launched and recorded. What the GPU's cache holds is
/// `kv_dtype`, the CPU's is in bf16.
fn check_distances(kv_dtype: DType, specs: [(DecoderSpec, Range<f64>); 2]) {
    let sequences = [sequence(0, 37), sequence(1, 5), sequence(3, 1)];
    for (spec, distances) in specs {
        let mut on_cpu = decoder_of(spec.clone(), WeightType::BF16);
        let expected = last_logits(&mut on_cpu, &sequences, way(MAX_LEN, DType::BF16));
        for records_steps in [false, true] {
            let Some(device) = gpu(CudaConfig { records_steps, ..PLAIN }) else { return };
            let mut on_gpu = decoder_on(device, spec.clone(), WeightType::BF16, DtypePolicy::Auto);
            for chunk in [MAX_LEN, 9, 1] {
                let actual = last_logits(&mut on_gpu, &sequences, way(chunk, kv_dtype));
                for (seq_idx, (expected, actual)) in expected.iter().zip(&actual).enumerate() {
                    let distance = distance(expected, actual);
                    let context = format!("{records_steps} chunks of {chunk}, sequence {seq_idx}");
                    assert!(distances.contains(&distance), "{context}: {distance}");
                }
            }
        }
    }
}

#[test]
fn logits_are_near_those_of_the_cpu_for_prefills_chunks_and_decodes() {
    check_distances(DType::BF16, [(wide_spec(), 0.0..0.006), (rich_dense_spec(), 0.0..0.012)]);
}

/// Keys and values have three bits of mantissa; all else is as with a cache in bf16, which the CPU's stands for. Nearer
/// than the lower bound they cannot be, or the cache is another than was asked for.
#[test]
fn a_cache_of_eight_bits_keeps_logits_near_those_of_the_cpu() {
    check_distances(DType::E4M3, [(wide_spec(), 0.015..0.045), (rich_dense_spec(), 0.015..0.08)]);
}

#[test]
fn a_cache_of_eight_bits_takes_half_the_memory_and_is_for_gpus() {
    let Some(device) = gpu(PLAIN) else { return };
    let block_size = BlockSize::try_from(16).expect("16 is a block size");
    let taken = |dtype| {
        let layout = wide_spec().kv_layout(dtype);
        let before = device.free_bytes().expect("a GPU has an arena");
        let cache = KvCache::new(&device, &layout, block_size, 64).expect("it is small");
        let taken = before - device.free_bytes().expect("a GPU has an arena");
        assert_eq!(taken as u64, cache.bytes());
        taken
    };
    assert_eq!(taken(DType::BF16), 2 * taken(DType::E4M3));
    for refused in [DType::F16, DType::F32] {
        let error = KvCache::new(&device, &wide_spec().kv_layout(refused), block_size, 64);
        assert!(error.is_err(), "{refused} on a GPU");
    }
    let cpu = Device::cpu(&CpuOptions::default()).expect("the processor is there");
    let error = KvCache::new(&cpu, &wide_spec().kv_layout(DType::E4M3), block_size, 64).expect_err("a CPU");
    let problem = std::error::Error::source(&error).map_or_else(|| error.to_string(), ToString::to_string);
    assert!(problem.contains("fp8_e4m3"), "{problem}");
}

/// Rows of whole blocks of 256.
fn spec_for_large_blocks() -> DecoderSpec {
    let mut spec = wide_spec();
    spec.hidden_size = 256;
    spec.layers = vec![LayerSpec::plain(256); 2];
    spec
}

/// The CPU widens the weights: then it rounds activations no more than the GPU does.
#[test]
fn quantised_weights_are_computed_with_as_they_are() {
    let sequences = [sequence(0, 20), sequence(1, 3)];
    for weight_type in WeightType::ALL.into_iter().filter(|weight_type| weight_type.block_len() > 1) {
        let Some(device) = gpu(PLAIN) else { return };
        let spec = spec_for_large_blocks();
        let cpu = Device::cpu(&CpuOptions::default()).expect("the processor is there");
        let mut on_cpu = decoder_on(cpu, spec.clone(), weight_type, DtypePolicy::F32);
        let expected = last_logits(&mut on_cpu, &sequences, way(MAX_LEN, DType::F32));
        let mut on_gpu = decoder_on(device, spec, weight_type, DtypePolicy::Auto);
        for chunk in [MAX_LEN, 1] {
            let actual = last_logits(&mut on_gpu, &sequences, way(chunk, DType::BF16));
            for (expected, actual) in expected.iter().zip(&actual) {
                let distance = distance(expected, actual);
                assert!(distance < 0.015, "{weight_type}, chunks of {chunk}: {distance}");
            }
        }
    }
}

/// What the rounding itself costs is a part of the distance; the kernels' own test compares with the rounded numbers.
#[test]
fn floats_are_quantised_on_the_way_to_the_gpu() {
    let sequences = [sequence(0, 20), sequence(1, 3)];
    for tied_head in [false, true] {
        let spec = DecoderSpec { tied_head, ..spec_for_large_blocks() };
        let mut on_cpu = decoder_of(spec.clone(), WeightType::F32);
        let expected = last_logits(&mut on_cpu, &sequences, way(MAX_LEN, DType::F32));
        for (quantisation, most) in
            [(Quantisation::Int8, 0.03), (Quantisation::Fp8, 0.09), (Quantisation::Int4, 0.3)]
        {
            let Some(device) = gpu(PLAIN) else { return };
            let how = (DtypePolicy::Auto, Some(quantisation));
            let mut on_gpu = quantised_on(device, spec.clone(), WeightType::F32, how);
            for chunk in [MAX_LEN, 1] {
                let actual = last_logits(&mut on_gpu, &sequences, way(chunk, DType::BF16));
                for (expected, actual) in expected.iter().zip(&actual) {
                    let distance = distance(expected, actual);
                    assert!(distance < most, "{quantisation}, chunks of {chunk}: {distance}");
                }
            }
        }
    }
}

#[test]
fn a_step_takes_none_of_the_memory_that_is_left() {
    let Some(device) = gpu(CudaConfig { records_steps: true, ..PLAIN }) else { return };
    let mut decoder = decoder_on(device.clone(), wide_spec(), WeightType::BF16, DtypePolicy::Auto);
    let before = device.free_bytes();
    for chunk in [MAX_LEN, 1] {
        last_logits(&mut decoder, &[sequence(0, 5), sequence(1, 4)], way(chunk, DType::BF16));
        assert_eq!(device.free_bytes(), before);
    }
}

#[test]
fn a_recorded_step_gives_the_bits_of_its_launches() {
    let sequences = [sequence(0, 21), sequence(1, 19), sequence(2, 20)];
    let logits = |records_steps| {
        let device = gpu(CudaConfig { records_steps, ..PLAIN })?;
        let mut decoder = decoder_on(device, rich_dense_spec(), WeightType::BF16, DtypePolicy::Auto);
        Some(last_logits(&mut decoder, &sequences, way(1, DType::BF16)))
    };
    let (Some(launched), Some(recorded)) = (logits(false), logits(true)) else { return };
    for (launched, recorded) in launched.iter().zip(&recorded) {
        assert_same_bits(launched, recorded, "recorded");
    }
}

#[test]
fn batch_invariant_logits_do_not_depend_on_company_or_chunks() {
    let config = CudaConfig { products: Products::BatchInvariant, records_steps: true, ..PLAIN };
    let Some(device) = gpu(config) else { return };
    let sequences = [sequence(0, 33), sequence(1, 5), sequence(2, 18)];
    let mut decoder = decoder_on(device, wide_spec(), WeightType::BF16, DtypePolicy::Auto);
    let alone: Vec<Vec<f32>> = sequences
        .iter()
        .map(|tokens| {
            let tokens = std::slice::from_ref(tokens);
            last_logits(&mut decoder, tokens, way(MAX_LEN, DType::BF16)).remove(0)
        })
        .collect();
    for chunk in [1, 7, MAX_LEN] {
        let together = last_logits(&mut decoder, &sequences, way(chunk, DType::BF16));
        for (expected, actual) in alone.iter().zip(&together) {
            assert_same_bits(expected, actual, &format!("chunks of {chunk}"));
        }
    }
}
