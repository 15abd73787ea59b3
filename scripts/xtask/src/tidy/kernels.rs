//! Every CUDA kernel has its op: `kernels/cuda/x.cu` beside `kernels/src/ops/x.rs` or `kernels/src/cuda/ops/x.rs`.

use crate::sources::Source;

/// Complains of each kernel file without a twin.
pub(super) fn check(sources: &[Source]) -> Vec<String> {
    let paths: Vec<&str> = sources.iter().map(|source| source.path.as_str()).collect();
    paths
        .iter()
        .filter_map(|path| Some((path, kernel_name(path)?)))
        .filter(|(_, name)| !has_twin(&paths, name))
        .map(|(path, name)| format!("{path}: no op of this name (kernels/src/ops/{name}.rs)"))
        .collect()
}

/// The op's name, for kernel files directly in `kernels/cuda`.
fn kernel_name(path: &str) -> Option<&str> {
    let name = path.strip_prefix("kernels/cuda/")?.strip_suffix(".cu")?;
    (!name.contains('/')).then_some(name)
}

fn has_twin(paths: &[&str], name: &str) -> bool {
    [format!("kernels/src/ops/{name}.rs"), format!("kernels/src/cuda/ops/{name}.rs")]
        .iter()
        .any(|twin| paths.contains(&twin.as_str()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_kernel_files_need_a_twin() {
        assert_eq!(kernel_name("kernels/cuda/embed.cu"), Some("embed"));
        assert_eq!(kernel_name("kernels/cuda/emu/driver.cu"), None);
        assert_eq!(kernel_name("kernels/cuda/ptx.cuh"), None);
        assert!(has_twin(&["kernels/src/ops/embed.rs"], "embed"));
        assert!(!has_twin(&["kernels/src/ops/embed.rs"], "argmax"));
    }
}
