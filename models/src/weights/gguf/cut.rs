//! A model's first layers in a file of their own: real weights, small enough to carry to a machine that is to be tried.
//!
//! Metadata and tensors are copied byte for byte. What changes is the number of layers, arrays with an entry for each of
//! them, and where tensors begin. Such a model answers with nonsense, but always with the same.
//!
//! In a request's path: not at all; `spillway cut-model` asks.

use std::ops::Range;
use std::path::Path;

use super::metadata::{GgufMetadata, GgufValue, MIN_PAIR_BYTES, read_value};
use super::reader::{Problem, Reader};
use super::{DEFAULT_ALIGNMENT, MAGIC, TensorInfo, place, read_header, read_version};
use crate::error::ModelError;
use crate::weights::mapped_file::MappedFile;

/// Metadata that says which keys are the architecture's.
const ARCHITECTURE: &str = "general.architecture";
/// The names of a layer's tensors begin with it, its number and a dot.
const LAYER: &str = "blk.";
/// Before an array's entries: their type and how many there are.
const ARRAY_HEADER_BYTES: usize = 12;

/// One pair of the metadata and the bytes that it is written in.
struct RawPair {
    key: String,
    value: GgufValue,
    key_bytes: Range<usize>,
    value_bytes: Range<usize>,
}

/// A file and what is to become of it.
struct Cut<'a> {
    bytes: &'a [u8],
    metadata: GgufMetadata,
    tensors: Vec<TensorInfo>,
    data_start: usize,
    architecture: String,
    /// Layers before and after.
    layers: [u64; 2],
}

/// Reads a GGUF file and answers with the bytes of one that has its first `num_layers` layers alone.
///
/// # Errors
///
/// [`ModelError::OverLimit`] if it has fewer layers, or none are asked for; otherwise as for a file that is to be served.
pub fn cut_layers(path: &Path, num_layers: u32) -> Result<Vec<u8>, ModelError> {
    let bytes = &MappedFile::open(path)?;
    let malformed = |problem: Problem| ModelError::Malformed { path: path.to_owned(), problem: problem.0 };
    let (metadata, tensors, data_start) = read_header(path, bytes).map_err(malformed)?;
    let architecture = metadata.text(ARCHITECTURE)?.unwrap_or_default().to_owned();
    let limit = u64::from(metadata.required_u32(&layers_key(&architecture))?);
    let value = u64::from(num_layers);
    if value == 0 || value > limit {
        return Err(ModelError::OverLimit { name: "layers", value, limit });
    }
    let layers = [limit, value];
    Cut { bytes, metadata, tensors, data_start, architecture, layers }.write().map_err(malformed)
}

impl Cut<'_> {
    /// The new file.
    fn write(&self) -> Result<Vec<u8>, Problem> {
        let mut reader = Reader::new(self.bytes);
        let version = read_version(&mut reader)?;
        let _num_tensors = reader.u64()?;
        let num_pairs = reader.u64()?;
        let num_pairs = reader.count("metadata pairs", num_pairs, MIN_PAIR_BYTES)?;

        let is_kept = |info: &&TensorInfo| layer_of(&info.name).is_none_or(|layer| layer < self.layers[1]);
        let kept: Vec<&TensorInfo> = self.tensors.iter().filter(is_kept).collect();
        let mut out = MAGIC.to_vec();
        out.extend(version.to_le_bytes());
        out.extend((kept.len() as u64).to_le_bytes());
        out.extend((num_pairs as u64).to_le_bytes());
        for _ in 0..num_pairs {
            self.write_pair(&RawPair::read(&mut reader)?, &mut out);
        }
        let alignment = self.metadata.alignment(DEFAULT_ALIGNMENT)? as usize;
        let mut contents = Vec::with_capacity(kept.len());
        let mut offset = 0;
        for info in kept {
            let content = place(info, 0, self.data_start, self.bytes.len())?.bytes;
            if content.is_empty() {
                return Err(Problem(format!("tensor `{}` is of a type whose size is not known", info.name)));
            }
            info.write(&mut out, offset as u64);
            offset += content.len().next_multiple_of(alignment);
            contents.push(content);
        }
        for content in contents {
            out.resize(out.len().next_multiple_of(alignment), 0);
            out.extend_from_slice(&self.bytes[content]);
        }
        Ok(out)
    }

    /// Copies a pair, with the new number of layers where it tells the old one.
    fn write_pair(&self, pair: &RawPair, out: &mut Vec<u8>) {
        let [old, new] = self.layers;
        let value = &self.bytes[pair.value_bytes.clone()];
        let rest = pair.key.strip_prefix(&self.architecture);
        let of_architecture = rest.is_some_and(|rest| rest.starts_with('.'));
        out.extend_from_slice(&self.bytes[pair.key_bytes.clone()]);
        match &pair.value {
            _ if pair.key == layers_key(&self.architecture) => {
                out.extend_from_slice(&new.to_le_bytes()[..value.len()]);
            }
            GgufValue::Array(entries) if of_architecture && entries.len() as u64 == old => {
                let (header, entries) = value.split_at(ARRAY_HEADER_BYTES);
                // Numbers and truth values are all as long as one another.
                let kept_bytes = entries.len() / old as usize * new as usize;
                out.extend_from_slice(&header[..4]);
                out.extend(new.to_le_bytes());
                out.extend_from_slice(&entries[..kept_bytes]);
            }
            _ => out.extend_from_slice(value),
        }
    }
}

impl RawPair {
    fn read(reader: &mut Reader<'_>) -> Result<Self, Problem> {
        let start = reader.position();
        let key = reader.string()?;
        let type_code = reader.u32()?;
        let value_start = reader.position();
        let value = read_value(reader, type_code, 0)?;
        let end = reader.position();
        Ok(Self { key, value, key_bytes: start..value_start, value_bytes: value_start..end })
    }
}

impl TensorInfo {
    /// Writes its entry of the tensor list.
    fn write(&self, out: &mut Vec<u8>, offset: u64) {
        out.extend((self.name.len() as u64).to_le_bytes());
        out.extend(self.name.as_bytes());
        out.extend((self.shape.len() as u32).to_le_bytes());
        for &size in self.shape.iter().rev() {
            out.extend((size as u64).to_le_bytes());
        }
        out.extend(self.type_code.to_le_bytes());
        out.extend(offset.to_le_bytes());
    }
}

fn layers_key(architecture: &str) -> String {
    format!("{architecture}.block_count")
}

/// The number of the layer that a tensor belongs to.
fn layer_of(name: &str) -> Option<u64> {
    name.strip_prefix(LAYER)?.split('.').next()?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::source::ModelSource;
    use crate::weights::WeightStore;
    use crate::weights::gguf::writer::GgufWriter;
    use crate::weights::tests::temporary_folder;

    fn sample(layers: u64) -> Vec<u8> {
        let sizes = (0..layers).map(|layer| GgufValue::Unsigned(10 + layer)).collect();
        let mut file = GgufWriter::default()
            .pair("general.architecture", GgufValue::Text("llama".to_owned()))
            .pair("llama.block_count", GgufValue::Unsigned(layers))
            .pair("llama.sizes", GgufValue::Array(sizes))
            .pair("tokens", GgufValue::Texts((0..layers).map(|token| token.to_string()).collect()))
            .tensor("token_embd.weight", &[3], 0, [1.0_f32, 2.0, 3.0].map(f32::to_le_bytes).concat());
        for layer in 0..layers {
            let numbers: Vec<u8> =
                (0..5).flat_map(|index| (layer as f32 * 10.0 + index as f32).to_le_bytes()).collect();
            file = file.tensor(&format!("blk.{layer}.x"), &[5], 0, numbers);
        }
        file.finish()
    }

    #[test]
    fn the_first_layers_stay_as_they_are_and_nothing_tells_of_the_others() {
        let folder = temporary_folder();
        let path = folder.path().join("whole.gguf");
        std::fs::write(&path, sample(12)).expect("the folder takes a file");
        for layers in [2, 12] {
            let cut = cut_layers(&path, layers).expect("it has as many");
            // The same as a file that never had more, but for the list that is not the architecture's.
            let cut_path = folder.path().join("cut.gguf");
            std::fs::write(&cut_path, cut).expect("the folder takes a file");
            let (store, metadata) = WeightStore::open_gguf(&cut_path).expect("it is well formed");
            assert_eq!(store.names().count(), 1 + layers as usize);
            assert_eq!(metadata.required_u32("llama.block_count").expect("a count"), layers);
            assert_eq!(metadata.numbers("llama.sizes").expect("numbers").len(), layers as usize);
            assert_eq!(metadata.texts("tokens").expect("texts").len(), 12);
            let last = layers - 1;
            let numbers = store.tensor(&format!("blk.{last}.x"), &[5]).expect("it is kept").to_f32();
            assert_eq!(numbers, [0.0, 1.0, 2.0, 3.0, 4.0].map(|index| last as f32 * 10.0 + index));
        }
    }

    #[test]
    fn a_cut_model_is_described_with_fewer_layers() {
        let golden = Path::new(env!("CARGO_MANIFEST_DIR")).join("../tests/golden/tiny/gguf/tied-q4_0.gguf");
        let whole = crate::read_spec(&ModelSource::Gguf(golden.clone())).expect("a golden model");
        assert!(whole.num_layers() > 1, "one layer is nothing to cut");
        let folder = temporary_folder();
        let path = folder.path().join("cut.gguf");
        std::fs::write(&path, cut_layers(&golden, 1).expect("it has one")).expect("the folder takes a file");
        let spec = crate::read_spec(&ModelSource::Gguf(path)).expect("it can be served");
        assert_eq!(spec, crate::DecoderSpec { layers: whole.layers[..1].to_vec(), ..whole });
    }

    #[test]
    fn more_layers_than_there_are_and_none_are_refused() {
        let folder = temporary_folder();
        let path = folder.path().join("whole.gguf");
        std::fs::write(&path, sample(3)).expect("the folder takes a file");
        for layers in [0, 4] {
            let error = cut_layers(&path, layers).expect_err("no such model").to_string();
            assert_eq!(error, format!("`layers` is {layers}, limit 3 for this model"));
        }
        std::fs::write(&path, &sample(3)[..100]).expect("the folder takes a file");
        assert!(matches!(cut_layers(&path, 1), Err(ModelError::Malformed { .. })));
    }
}
