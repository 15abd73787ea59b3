//! Every CUDA kernel serves an op: `kernels/cuda/x.cu` stands beside `kernels/src/ops/x.rs`, or says here whom it serves.

use crate::sources::Source;

/// Kernels whose op has another name, because one op takes several kernels or only the GPU needs it.
const SERVES: [(&str, &str); 17] = [
    ("add_bias", "cuda/ops/rows.rs"),
    ("argmax", "cuda/ops/step.rs"),
    ("block_copy", "cuda/ops/rows.rs"),
    ("embed_packed", "ops/embed.rs"),
    ("fill_random", "cuda/ops/fill.rs"),
    ("linear_quantised", "ops/linear.rs"),
    ("linear_skinny", "ops/linear.rs"),
    ("linear_tile", "ops/linear.rs"),
    ("linear_tile_quantised", "ops/linear.rs"),
    ("pack", "weight.rs"),
    ("paged_decode", "ops/attention.rs"),
    ("paged_prefill", "ops/attention.rs"),
    ("read_bytes", "cuda/ops/read.rs"),
    ("sample_adjust", "cuda/ops/sampling.rs"),
    ("sample_finish", "cuda/ops/sampling.rs"),
    ("sample_weigh", "cuda/ops/sampling.rs"),
    ("step_update", "cuda/ops/step.rs"),
];

/// Complains of each kernel file without a twin.
pub(super) fn check(sources: &[Source]) -> Vec<String> {
    let paths: Vec<&str> = sources.iter().map(|source| source.path.as_str()).collect();
    paths
        .iter()
        .filter_map(|path| Some((path, twin(kernel_name(path)?))))
        .filter(|(_, twin)| !paths.contains(&twin.as_str()))
        .map(|(path, twin)| format!("{path}: no op of this name ({twin}), and none named in xtask"))
        .collect()
}

/// The op's name, for kernel files directly in `kernels/cuda`.
fn kernel_name(path: &str) -> Option<&str> {
    let name = path.strip_prefix("kernels/cuda/")?.strip_suffix(".cu")?;
    (!name.contains('/')).then_some(name)
}

fn twin(name: &str) -> String {
    let served = SERVES.iter().find(|(kernel, _)| *kernel == name).map(|(_, op)| (*op).to_owned());
    format!("kernels/src/{}", served.unwrap_or_else(|| format!("ops/{name}.rs")))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn source(path: &str) -> Source {
        Source { path: path.to_owned(), text: String::new() }
    }

    #[test]
    fn only_kernel_files_need_a_twin() {
        assert_eq!(kernel_name("kernels/cuda/embed.cu"), Some("embed"));
        assert_eq!(kernel_name("kernels/cuda/emu/driver.cu"), None);
        assert_eq!(kernel_name("kernels/cuda/ptx.cuh"), None);
    }

    #[test]
    fn a_kernel_without_a_twin_is_named() {
        let files = ["kernels/cuda/embed.cu", "kernels/cuda/pack.cu", "kernels/src/ops/embed.rs"].map(source);
        let complaints = check(&files);
        assert_eq!(complaints.len(), 1);
        assert!(complaints[0].starts_with("kernels/cuda/pack.cu"));
    }
}
