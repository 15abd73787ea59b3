//! AWQ and GPTQ checkpoints: matrices of four bits in several tensors each, put together as one.
//!
//! A matrix `[n, k]` under the name `x` is stored as `x.qweight` (eight codes in a word), `x.scales` and `x.qzeros` (one of
//! each for a group of columns of a row) and, in GPTQ, `x.g_idx` (the group of each column; the columns of a group are
//! neighbours where it is absent, which `desc_act` rules out). Here it becomes `x.weight`, and is unpacked when it is asked
//! for.
//!
//! | | AWQ (version gemm) | GPTQ |
//! |---|---|---|
//! | qweight | `[k, n / 8]`: neighbours along n | `[k / 8, n]`: neighbours along k |
//! | qzeros | `[groups, n / 8]` | `[groups, n / 8]`, one less than they are unless the format is `gptq_v2` |
//! | scales | `[groups, n]` | `[groups, n]` |
//! | place of eight neighbours in a word, lowest first | 0, 2, 4, 6, 1, 3, 5, 7 | 0 to 7 |
//!
//! Source of the layouts: the packing code of `AutoAWQ`, `AutoGPTQ` and `GPTQModel`.

use std::collections::BTreeSet;
use std::fmt;
use std::num::NonZeroUsize;

use serde_json::json;
use spillway_kernels::WeightType;
use spillway_kernels::weight::QUANT_BLOCK;

use super::{Entry, StoredType, WeightStore};
use crate::arch::config_json::ConfigJson;
use crate::error::ModelError;

mod unpack;

const KEY: &str = "quantization_config";
const CODES: &str = ".qweight";
/// Codes of a word.
const CODES_PER_WORD: usize = 8;
/// The only number of bits that is read.
const BITS: usize = 4;

/// How a checkpoint's matrices are packed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Int4Scheme {
    method: Method,
    /// Columns of a group; a whole row if absent.
    group: Option<NonZeroUsize>,
    /// What stored zero points are short of.
    zero_offset: u8,
    /// Whether columns were quantised in another order than they stand in (`desc_act`).
    is_reordered: bool,
    /// Parts of the names of modules that are not packed.
    kept_modules: Vec<String>,
}

/// Who packed them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Method {
    Awq,
    Gptq,
}

/// One packed matrix.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Int4Matrix {
    method: Method,
    /// Columns of a group.
    group: usize,
    zero_offset: u8,
    zeros: Piece,
    scales: Piece,
    /// What a scale is stored as.
    scale_type: WeightType,
    /// The group of each column, where the columns of a group are not neighbours.
    column_groups: Option<Piece>,
}

/// Where a part of a matrix is.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Piece {
    file_idx: usize,
    bytes: std::ops::Range<usize>,
}

impl Int4Scheme {
    /// Reads what a `config.json` says of how its weights are packed; `None` if it says nothing.
    ///
    /// # Errors
    ///
    /// [`ModelError::Unsupported`] names the first thing that is not read here, and what is.
    pub(crate) fn read(config: &ConfigJson) -> Result<Option<Self>, ModelError> {
        let Some(scheme) = config.object(KEY)? else { return Ok(None) };
        let method = match scheme.required_text("quant_method")? {
            "awq" => Method::Awq,
            "gptq" => Method::Gptq,
            other => {
                let supported = "supported are awq and gptq; or take the float checkpoint and --quantization";
                return Err(refused(&scheme, "quant_method", &json!(other), supported));
            }
        };
        let bits = scheme.required_count("bits")?;
        if bits != BITS {
            return Err(refused(&scheme, "bits", &json!(bits), "supported is 4"));
        }
        let mut zero_offset = 0;
        match method {
            Method::Awq => {
                let version = scheme.text("version")?.unwrap_or("gemm");
                if !version.eq_ignore_ascii_case("gemm") {
                    return Err(refused(&scheme, "version", &json!(version), "supported is \"gemm\""));
                }
            }
            Method::Gptq => {
                zero_offset = match scheme.text("checkpoint_format")?.unwrap_or("gptq") {
                    "gptq" => 1,
                    "gptq_v2" => 0,
                    other => {
                        let supported = "supported are \"gptq\" and \"gptq_v2\"";
                        return Err(refused(&scheme, "checkpoint_format", &json!(other), supported));
                    }
                };
                scheme.refuse("dynamic", &[json!({})])?;
            }
        }
        let kept_modules = scheme.texts("modules_to_not_convert")?.unwrap_or_default();
        Ok(Some(Self {
            method,
            group: group_size(&scheme)?,
            zero_offset,
            is_reordered: scheme.bool("desc_act")?.unwrap_or(false),
            kept_modules: kept_modules.into_iter().map(str::to_owned).collect(),
        }))
    }
}

/// Columns of a group: whole blocks of the CPU's products, or `None` for -1.
fn group_size(scheme: &ConfigJson) -> Result<Option<NonZeroUsize>, ModelError> {
    let size = scheme.required_number("group_size")?;
    if size.to_bits() == (-1.0_f32).to_bits() {
        return Ok(None);
    }
    match scheme.count("group_size")?.and_then(NonZeroUsize::new) {
        Some(size) if size.get().is_multiple_of(QUANT_BLOCK) => Ok(Some(size)),
        _ => Err(refused(scheme, "group_size", &json!(size), "supported are -1 and multiples of 32")),
    }
}

fn refused(scheme: &ConfigJson, key: &str, value: &serde_json::Value, supported: &str) -> ModelError {
    scheme.unsupported(&format!("{KEY}.{key}"), value, supported.to_owned())
}

impl WeightStore {
    /// The same tensors, with the pieces of every packed matrix put together as one `.weight`.
    ///
    /// # Errors
    ///
    /// [`ModelError::Tensors`] for a missing piece, [`ModelError::TensorShape`], [`ModelError::Malformed`].
    pub(crate) fn with_int4(mut self, scheme: &Int4Scheme) -> Result<Self, ModelError> {
        let modules: Vec<String> =
            self.names().filter_map(|name| name.strip_suffix(CODES)).map(str::to_owned).collect();
        let mut num_permuted = 0;
        for module in &modules {
            if let Some(kept) = scheme.kept_modules.iter().find(|kept| module.contains(kept.as_str())) {
                let problem = format!("`{module}` is packed, but {KEY} says that `{kept}` is not");
                return Err(ModelError::Malformed { path: self.origin.clone(), problem });
            }
            let entry = self.take_int4(scheme, module)?;
            if let StoredType::Int4(matrix) = &entry.stored_type {
                num_permuted += usize::from(matrix.column_groups.is_some());
            }
            self.insert(format!("{module}.weight"), entry)?;
        }
        if num_permuted > 0 {
            tracing::warn!(
                num_matrices = num_permuted,
                "columns were quantised in another order than they stand in (desc_act): these matrices are held as \
                 bf16, 16 bits a weight; a checkpoint without desc_act takes a quarter of that"
            );
        }
        Ok(self)
    }

    /// Whether a tensor is a bias of zeros beside a packed matrix: some tools write one for every matrix, also where the
    /// architecture has none.
    pub(crate) fn is_empty_bias(&self, name: &str) -> bool {
        let weight =
            name.strip_suffix(".bias").and_then(|module| self.tensors.get(&format!("{module}.weight")));
        let is_packed = weight.is_some_and(|weight| matches!(weight.stored_type, StoredType::Int4(_)));
        is_packed
            && self.tensors.get(name).is_some_and(|bias| {
                self.files[bias.file_idx][bias.bytes.clone()].iter().all(|byte| *byte == 0)
            })
    }

    /// Takes a module's pieces out, and answers with the matrix that they are.
    fn take_int4(&mut self, scheme: &Int4Scheme, module: &str) -> Result<Entry, ModelError> {
        let mut missing = BTreeSet::new();
        let mut take = |suffix: &str| {
            let name = format!("{module}{suffix}");
            self.tensors.remove(&name).or_else(|| {
                missing.insert(name);
                None
            })
        };
        let (codes, zeros, scales) = (take(CODES), take(".qzeros"), take(".scales"));
        let column_groups = match scheme.method {
            Method::Awq => None,
            Method::Gptq if scheme.is_reordered => take(".g_idx"),
            Method::Gptq => self.tensors.remove(&format!("{module}.g_idx")),
        };
        let (Some(codes), Some(zeros), Some(scales), true) = (codes, zeros, scales, missing.is_empty())
        else {
            let missing = missing.into_iter().collect();
            return Err(ModelError::Tensors { path: self.origin.clone(), missing, left_over: Vec::new() });
        };
        let &[rows, columns] = codes.shape.as_slice() else {
            let dimensions = codes.shape.len();
            let problem = format!("tensor `{module}{CODES}` has {dimensions} dimensions, expected 2");
            let path = self.files[codes.file_idx].path().to_owned();
            return Err(ModelError::Malformed { path, problem });
        };
        let [n, k] = match scheme.method {
            Method::Awq => [columns * CODES_PER_WORD, rows],
            Method::Gptq => [columns, rows * CODES_PER_WORD],
        };
        if !n.is_multiple_of(CODES_PER_WORD) {
            let problem = format!("`{module}` has {n} rows, expected a multiple of {CODES_PER_WORD}");
            return Err(ModelError::Malformed { path: self.origin.clone(), problem });
        }
        let group = scheme.group.map_or(k.max(1), NonZeroUsize::get);
        let num_groups = k.div_ceil(group);
        self.expect_words(module, CODES, &codes, &[rows, columns])?;
        self.expect_words(module, ".qzeros", &zeros, &[num_groups, n / CODES_PER_WORD])?;
        expect_shape(module, ".scales", &scales, &[num_groups, n])?;
        let StoredType::Known(scale_type @ (WeightType::F32 | WeightType::F16 | WeightType::BF16)) =
            scales.stored_type
        else {
            return Err(self.wrong_type(module, ".scales", &scales, "f16, bf16 or f32"));
        };
        let column_groups = match column_groups {
            Some(groups) => {
                self.expect_words(module, ".g_idx", &groups, &[k])?;
                self.permuted(module, &groups, group, num_groups)?.then(|| Piece::of(&groups))
            }
            None => None,
        };
        let (zeros, scales, zero_offset) = (Piece::of(&zeros), Piece::of(&scales), scheme.zero_offset);
        let method = scheme.method;
        let matrix = Int4Matrix { method, group, zero_offset, zeros, scales, scale_type, column_groups };
        Ok(Entry { shape: vec![n, k], stored_type: StoredType::Int4(matrix), ..codes })
    }

    /// Whether the columns of a group are not neighbours, by the list of each column's group.
    fn permuted(
        &self,
        module: &str,
        column_groups: &Entry,
        group: usize,
        num_groups: usize,
    ) -> Result<bool, ModelError> {
        let mut is_permuted = false;
        let words = &self.files[column_groups.file_idx][column_groups.bytes.clone()];
        for (column, word) in words.as_chunks().0.iter().enumerate() {
            let value = i32::from_le_bytes(*word);
            let found = usize::try_from(value).ok().filter(|found| *found < num_groups);
            let Some(found) = found else {
                let problem = format!(
                    "tensor `{module}.g_idx` names group {value} of {num_groups} for column {column}"
                );
                let path = self.files[column_groups.file_idx].path().to_owned();
                return Err(ModelError::Malformed { path, problem });
            };
            is_permuted |= found != column / group;
        }
        Ok(is_permuted)
    }

    /// Refuses a piece that does not hold 32-bit words of the given shape.
    fn expect_words(
        &self,
        module: &str,
        suffix: &str,
        entry: &Entry,
        expected: &[usize],
    ) -> Result<(), ModelError> {
        expect_shape(module, suffix, entry, expected)?;
        match &entry.stored_type {
            StoredType::Other(name) if name == "I32" => Ok(()),
            _ => Err(self.wrong_type(module, suffix, entry, "I32")),
        }
    }

    fn wrong_type(&self, module: &str, suffix: &str, entry: &Entry, expected: &str) -> ModelError {
        let problem =
            format!("tensor `{module}{suffix}` has type {}, expected {expected}", entry.stored_type);
        ModelError::Malformed { path: self.files[entry.file_idx].path().to_owned(), problem }
    }
}

fn expect_shape(module: &str, suffix: &str, entry: &Entry, expected: &[usize]) -> Result<(), ModelError> {
    if entry.shape == expected {
        return Ok(());
    }
    let (actual, expected) = (entry.shape.clone(), expected.to_vec());
    Err(ModelError::TensorShape { name: format!("{module}{suffix}"), actual, expected })
}

impl Piece {
    fn of(entry: &Entry) -> Self {
        Self { file_idx: entry.file_idx, bytes: entry.bytes.clone() }
    }
}

impl Int4Matrix {
    /// Bytes of the scales, zero points and groups in the files.
    pub(crate) fn side_bytes(&self) -> usize {
        let pieces = [Some(&self.zeros), Some(&self.scales), self.column_groups.as_ref()];
        pieces.into_iter().flatten().map(|piece| piece.bytes.len()).sum()
    }

    /// The type that it is unpacked to, if it has zero points that are not all the middle one.
    pub(crate) fn unpacked_type(&self, columns: usize) -> WeightType {
        if self.column_groups.is_some() || !columns.is_multiple_of(QUANT_BLOCK) {
            WeightType::BF16
        } else {
            WeightType::Q4_1
        }
    }

    /// Whether a GPU keeps it in groups of 128 columns.
    pub(crate) fn has_long_groups(&self, columns: usize) -> bool {
        const LONG: usize = 128;
        self.group.is_multiple_of(LONG) || self.group >= columns
    }
}

impl fmt::Display for Int4Matrix {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let method = match self.method {
            Method::Awq => "AWQ",
            Method::Gptq => "GPTQ",
        };
        write!(formatter, "{method} int4, groups of {}", self.group)
    }
}

#[cfg(test)]
pub(crate) mod tests;
