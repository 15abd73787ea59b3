//! Checkpoints packed here from known integers, by plain loops over the layouts' own words, and what becomes of them.

use std::collections::HashMap;
use std::path::Path;

use ::safetensors::tensor::{Dtype, TensorView};
use half::{bf16, f16};
use serde_json::{Value, json};

use super::*;
use crate::weights::tests::temporary_folder;

/// A tensor as it goes into a file.
pub(crate) type Tensor = (String, Dtype, Vec<usize>, Vec<u8>);

/// A matrix by its integers.
pub(crate) struct Integers {
    pub(crate) n: usize,
    pub(crate) k: usize,
    /// `[n, k]`
    pub(crate) codes: Vec<u8>,
    /// `[groups, n]`
    pub(crate) zeros: Vec<u8>,
    /// `[groups, n]`
    pub(crate) scales: Vec<f16>,
    /// `[k]`
    pub(crate) column_groups: Vec<usize>,
}

impl Integers {
    /// Codes, zero points from 1 to 15 (8 if `is_symmetric`) and scales that follow from the seed.
    pub(crate) fn new([n, k]: [usize; 2], group: usize, is_symmetric: bool, seed: u32) -> Self {
        let mut state = seed.wrapping_mul(0x9e37_79b9) | 1;
        let mut next = move || {
            state ^= state << 13;
            state ^= state >> 17;
            state ^= state << 5;
            state >> 8
        };
        let num_groups = k.div_ceil(group);
        let codes = (0..n * k).map(|_| (next() % 16) as u8).collect();
        let zero = |drawn: u32| if is_symmetric { 8 } else { (1 + drawn % 15) as u8 };
        let zeros = (0..num_groups * n).map(|_| zero(next())).collect();
        let scale = |drawn: u32| f16::from_f32((1.0 + (drawn % 1000) as f32 / 1000.0) * 0.01);
        let scales = (0..num_groups * n).map(|_| scale(next())).collect();
        Self { n, k, codes, zeros, scales, column_groups: (0..k).map(|column| column / group).collect() }
    }

    /// The numbers, `[n, k]`.
    pub(crate) fn values(&self) -> Vec<f32> {
        let value = |at: usize| {
            let group = self.column_groups[at % self.k] * self.n + at / self.k;
            self.scales[group].to_f32() * (f32::from(self.codes[at]) - f32::from(self.zeros[group]))
        };
        (0..self.n * self.k).map(value).collect()
    }

    /// The scale of each number.
    fn scale_of(&self, at: usize) -> f32 {
        self.scales[self.column_groups[at % self.k] * self.n + at / self.k].to_f32()
    }

    fn scale_tensor(&self, module: &str) -> Tensor {
        let bytes = self.scales.iter().flat_map(|scale| scale.to_le_bytes()).collect();
        (format!("{module}.scales"), Dtype::F16, vec![self.scales.len() / self.n, self.n], bytes)
    }

    pub(crate) fn awq(&self, module: &str) -> Vec<Tensor> {
        let order = [0, 2, 4, 6, 1, 3, 5, 7];
        let num_groups = self.scales.len() / self.n;
        let packed = |rows: usize, code: &dyn Fn(usize, usize) -> u8| {
            let mut words = Vec::new();
            for row in 0..rows {
                for word in 0..self.n / 8 {
                    let bits =
                        (0..8).fold(0, |bits, i| bits | u32::from(code(row, 8 * word + order[i])) << (4 * i));
                    words.extend(bits.to_le_bytes());
                }
            }
            words
        };
        let codes = packed(self.k, &|column, row| self.codes[row * self.k + column]);
        let zeros = packed(num_groups, &|group, row| self.zeros[group * self.n + row]);
        vec![
            (format!("{module}.qweight"), Dtype::I32, vec![self.k, self.n / 8], codes),
            (format!("{module}.qzeros"), Dtype::I32, vec![num_groups, self.n / 8], zeros),
            self.scale_tensor(module),
        ]
    }

    /// Zero points are stored less `zero_offset`.
    pub(crate) fn gptq(&self, module: &str, zero_offset: u8) -> Vec<Tensor> {
        let num_groups = self.scales.len() / self.n;
        let mut codes = Vec::new();
        for word in 0..self.k / 8 {
            for row in 0..self.n {
                let code = |i: usize| u32::from(self.codes[row * self.k + 8 * word + i]);
                codes.extend((0..8).fold(0, |bits, i| bits | code(i) << (4 * i)).to_le_bytes());
            }
        }
        let mut zeros = Vec::new();
        for group in 0..num_groups {
            for word in 0..self.n / 8 {
                let zero = |i: usize| u32::from(self.zeros[group * self.n + 8 * word + i] - zero_offset);
                zeros.extend((0..8).fold(0, |bits, i| bits | zero(i) << (4 * i)).to_le_bytes());
            }
        }
        let groups = self.column_groups.iter().flat_map(|group| (*group as i32).to_le_bytes()).collect();
        vec![
            (format!("{module}.qweight"), Dtype::I32, vec![self.k / 8, self.n], codes),
            (format!("{module}.qzeros"), Dtype::I32, vec![num_groups, self.n / 8], zeros),
            self.scale_tensor(module),
            (format!("{module}.g_idx"), Dtype::I32, vec![self.k], groups),
        ]
    }
}

pub(crate) fn write(folder: &Path, tensors: &[Tensor]) {
    let views = tensors.iter().map(|(name, dtype, shape, bytes)| {
        (name.as_str(), TensorView::new(*dtype, shape.clone(), bytes).expect("bytes fit the shape"))
    });
    let bytes = ::safetensors::serialize(views, None::<HashMap<String, String>>).expect("it serialises");
    std::fs::write(folder.join("model.safetensors"), bytes).expect("the folder takes a file");
}

/// The scheme of a `quantization_config`.
fn scheme(config: &Value) -> Result<Option<Int4Scheme>, ModelError> {
    let folder = temporary_folder();
    let path = folder.path().join("config.json");
    std::fs::write(&path, json!({"quantization_config": config}).to_string()).expect("room on the disk");
    Int4Scheme::read(&ConfigJson::read(&path)?)
}

fn gptq_config(group: i64) -> Value {
    json!({"quant_method": "gptq", "bits": 4, "group_size": group, "sym": false, "desc_act": false})
}

fn awq_config(group: i64) -> Value {
    json!({"quant_method": "awq", "bits": 4, "group_size": group, "zero_point": true, "version": "gemm"})
}

fn open(config: &Value, tensors: &[Tensor]) -> Result<WeightStore, ModelError> {
    let folder = temporary_folder();
    write(folder.path(), tensors);
    let scheme = scheme(config)?.expect("it is there");
    WeightStore::open_safetensors(folder.path())?.with_int4(&scheme)
}

/// The unpacked numbers, and the type that they were unpacked to.
fn unpacked(config: &Value, tensors: &[Tensor], [n, k]: [usize; 2]) -> (WeightType, Vec<f32>) {
    let store = open(config, tensors).expect("well formed");
    let tensor = store.tensor("m.weight", &[n, k]).expect("it is there");
    (tensor.weight_type, tensor.to_f32())
}

/// The largest error, in scales.
fn worst(integers: &Integers, actual: &[f32]) -> f32 {
    let expected = integers.values();
    assert_eq!(actual.len(), expected.len());
    let errors = actual.iter().zip(&expected).enumerate();
    errors.map(|(at, (a, b))| (a - b).abs() / integers.scale_of(at)).fold(0.0, f32::max)
}

#[test]
fn zero_points_cost_half_a_step_of_a_minimum_and_symmetric_matrices_nothing() {
    // More rows than are unpacked together, and rows that end within a group.
    for (shape, group) in [([264, 96], 32), ([16, 256], 64), ([144, 320], 128), ([24, 160], -1)] {
        let columns = usize::try_from(group).unwrap_or(shape[1]);
        for is_symmetric in [false, true] {
            let integers = Integers::new(shape, columns, is_symmetric, 5);
            let expected_type = if is_symmetric { WeightType::Q4_0 } else { WeightType::Q4_1 };
            let mut second = gptq_config(group);
            second["checkpoint_format"] = json!("gptq_v2");
            for (config, tensors) in [
                (awq_config(group), integers.awq("m")),
                (gptq_config(group), integers.gptq("m", 1)),
                (second, integers.gptq("m", 0)),
            ] {
                let (weight_type, values) = unpacked(&config, &tensors, shape);
                assert_eq!(weight_type, expected_type, "{config}");
                let worst = worst(&integers, &values);
                // Half a step of f16 at 15 scales.
                let limit = if is_symmetric { 0.0 } else { 15.0 / 2048.0 };
                assert!(worst <= limit, "{config}: {worst}");
            }
        }
    }
}

#[test]
fn scales_of_other_types_are_read() {
    let integers = Integers::new([8, 64], 32, true, 7);
    let expected = integers.values();
    let rounded = Integers {
        scales: integers.scales.iter().map(|x| f16::from_f32(bf16::from_f32(x.to_f32()).to_f32())).collect(),
        ..Integers::new([8, 64], 32, true, 7)
    };
    for (dtype, expected) in [(Dtype::F32, expected), (Dtype::BF16, rounded.values())] {
        let mut tensors = integers.awq("m");
        tensors[2].1 = dtype;
        let values = integers.scales.iter().map(|scale| scale.to_f32());
        tensors[2].3 = match dtype {
            Dtype::F32 => values.flat_map(f32::to_le_bytes).collect(),
            _ => values.flat_map(|value| bf16::from_f32(value).to_le_bytes()).collect(),
        };
        assert_eq!(unpacked(&awq_config(32), &tensors, [8, 64]).1, expected, "{dtype:?}");
    }
}

#[test]
fn columns_in_another_order_become_bf16() {
    let mut integers = Integers::new([136, 64], 32, false, 9);
    integers.column_groups = (0..64).map(|column| column * 7 % 64 / 32).collect();
    let (weight_type, values) = unpacked(&gptq_config(32), &integers.gptq("m", 1), [136, 64]);
    assert_eq!(weight_type, WeightType::BF16);
    let expected: Vec<f32> = integers.values().iter().map(|x| bf16::from_f32(*x).to_f32()).collect();
    assert_eq!(values, expected);
}

#[test]
fn rows_of_no_whole_blocks_become_bf16() {
    let integers = Integers::new([8, 40], 40, false, 3);
    let (weight_type, values) = unpacked(&gptq_config(-1), &integers.gptq("m", 1), [8, 40]);
    assert_eq!(weight_type, WeightType::BF16);
    assert!(worst(&integers, &values) < 15.0 / 256.0);
}

#[test]
fn what_is_not_read_is_refused_by_name() {
    let changed = |mut config: Value, key: &str, value: Value| {
        config[key] = value;
        scheme(&config).expect_err("it is not read").to_string()
    };
    for (error, expected) in [
        (
            changed(awq_config(64), "quant_method", json!("compressed-tensors")),
            "`quantization_config.quant_method` \"compressed-tensors\", which is not supported; supported are awq and gptq; or take the float checkpoint and --quantization",
        ),
        (changed(awq_config(64), "quant_method", json!("fp8")), "`quantization_config.quant_method` \"fp8\""),
        (
            changed(awq_config(64), "quant_method", json!("bitsandbytes")),
            "`quantization_config.quant_method` \"bitsandbytes\"",
        ),
        (
            changed(awq_config(64), "version", json!("gemv")),
            "`quantization_config.version` \"gemv\", which is not supported; supported is \"gemm\"",
        ),
        (
            changed(gptq_config(64), "bits", json!(8)),
            "`quantization_config.bits` 8, which is not supported; supported is 4",
        ),
        (changed(gptq_config(64), "group_size", json!(16)), "supported are -1 and multiples of 32"),
        (changed(gptq_config(64), "group_size", json!(0)), "supported are -1 and multiples of 32"),
        (
            changed(gptq_config(64), "checkpoint_format", json!("marlin")),
            "supported are \"gptq\" and \"gptq_v2\"",
        ),
        (changed(gptq_config(64), "dynamic", json!({"-:lm_head": {}})), "`dynamic`"),
        (changed(gptq_config(64), "quant_method", Value::Null), "`quant_method` is missing"),
    ] {
        assert!(error.contains(expected), "{error}");
    }
    assert_eq!(scheme(&Value::Null).expect("nothing is said"), None);
}

#[test]
fn broken_pieces_are_named() {
    let integers = Integers::new([16, 64], 32, false, 4);
    let error = |config: &Value, tensors: &[Tensor]| {
        open(config, tensors).expect_err("a piece is broken").to_string()
    };
    let (awq, gptq) = (awq_config(32), gptq_config(32));
    let text = error(&awq, &integers.awq("m")[..1]);
    assert!(text.ends_with("missing (2): m.qzeros, m.scales"), "{text}");
    let mut reordered = gptq.clone();
    reordered["desc_act"] = json!(true);
    let text = error(&reordered, &integers.gptq("m", 1)[..3]);
    assert!(text.ends_with("missing (1): m.g_idx"), "{text}");
    let mut tensors = integers.awq("m");
    tensors[0].2.insert(0, 1);
    let text = error(&awq, &tensors);
    assert!(text.ends_with("tensor `m.qweight` has 3 dimensions, expected 2"), "{text}");
    let text = error(&awq_config(64), &integers.awq("m"));
    assert_eq!(text, "tensor `m.qzeros` has shape [2, 2], the configuration calls for [1, 2]");
    let mut tensors = integers.awq("m");
    tensors[2] = ("m.scales".to_owned(), Dtype::I64, vec![2, 16], vec![0; 256]);
    let text = error(&awq, &tensors);
    assert!(text.ends_with("tensor `m.scales` has type I64, expected f16, bf16 or f32"), "{text}");
    let mut tensors = integers.awq("m");
    tensors[1].1 = Dtype::U32;
    let text = error(&awq, &tensors);
    assert!(text.ends_with("tensor `m.qzeros` has type U32, expected I32"), "{text}");
    let mut tensors = integers.gptq("m", 1);
    tensors[3].3[4] = 2;
    let text = error(&gptq, &tensors);
    assert!(text.ends_with("tensor `m.g_idx` names group 2 of 2 for column 1"), "{text}");
    let mut kept = awq.clone();
    kept["modules_to_not_convert"] = json!(["lm_head", "m"]);
    let text = error(&kept, &integers.awq("m"));
    assert!(text.ends_with("`m` is packed, but quantization_config says that `m` is not"), "{text}");
    let mut tensors = integers.awq("m");
    tensors[2].3[..2].copy_from_slice(&f16::INFINITY.to_le_bytes());
    let store = open(&awq, &tensors).expect("only the numbers are wrong");
    let text = store.tensor("m.weight", &[16, 64]).expect_err("no number").to_string();
    assert!(text.ends_with("a scale of `m.weight` is inf, limit 4094"), "{text}");
}

#[test]
fn scales_that_are_tiny_are_read_until_f16_would_make_them_zero() {
    let integers = Integers::new([8, 32], 32, true, 6);
    let with_scale = |scale: f32| {
        let mut tensors = integers.awq("m");
        tensors[2].1 = Dtype::F32;
        tensors[2].3 = std::iter::repeat_n(scale.to_le_bytes(), 8).flatten().collect();
        let store = open(&awq_config(32), &tensors).expect("its pieces are right");
        store.tensor("m.weight", &[8, 32]).map(|tensor| tensor.to_f32()).map_err(|error| error.to_string())
    };
    let smallest = f16::from_bits(1).to_f32();
    let values = with_scale(smallest).expect("f16 holds it");
    let expected: Vec<f32> = integers.codes.iter().map(|&code| smallest * (f32::from(code) - 8.0)).collect();
    assert_eq!(values, expected);
    assert!(with_scale(0.0).expect("zero is meant").iter().all(|value| *value == 0.0));
    let text = with_scale(1e-8).expect_err("it would be zero");
    let problem = "a scale of `m.weight` is 1e-8, which is zero in f16: the smallest held is 5.9604645e-8; take the float \
                   checkpoint and --quantization";
    assert!(text.ends_with(problem), "{text}");
}

#[test]
fn without_a_list_of_groups_the_columns_of_a_group_are_neighbours() {
    let integers = Integers::new([16, 64], 32, false, 4);
    let mut silent = gptq_config(32);
    silent["desc_act"] = Value::Null;
    for config in [gptq_config(32), silent] {
        let whole = unpacked(&config, &integers.gptq("m", 1), [16, 64]);
        assert_eq!(unpacked(&config, &integers.gptq("m", 1)[..3], [16, 64]), whole, "{config}");
    }
}

#[test]
fn packed_numbers_outweigh_the_floats_beside_them() {
    let mut tensors = Integers::new([16, 64], 32, false, 4).awq("m");
    tensors.push(("norm.weight".to_owned(), Dtype::BF16, vec![64], vec![0; 128]));
    assert_eq!(open(&awq_config(32), &tensors).expect("well formed").dominant_type(), WeightType::Q4_1);
}
