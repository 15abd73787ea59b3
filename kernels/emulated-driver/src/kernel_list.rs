//! Which kernels a source has, as the preprocessor shows them.
//!
//! Kernels are often made by a macro of their file, so their names do not stand in the source. `KERNEL`
//! is defined here as a mark with the launch bound in it; what follows the mark is the kernel's name.

use std::fmt::Write as _;

/// Defines `KERNEL` as the mark that [`registrations`] looks for.
pub(crate) const MARK_KERNELS: &str =
    "-DKERNEL(max_threads, min_blocks)=SPILLWAY_KERNEL max_threads SPILLWAY_NAME";

/// A C++ file that includes the kernel source `file` and registers each kernel of the preprocessed text.
pub(crate) fn registrations(file: &str, preprocessed: &str) -> String {
    let mut text = format!("#include \"{file}\"\n#include \"emu/driver_kernels.hpp\"\n");
    for marked in preprocessed.split("SPILLWAY_KERNEL").skip(1) {
        let Some((max_threads, rest)) = marked.split_once("SPILLWAY_NAME") else { continue };
        let name = rest.split('(').next().unwrap_or(rest).trim();
        // Writing to a string cannot fail.
        let _ = writeln!(text, "REGISTER_KERNEL({name}, {})", max_threads.trim());
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_marked_kernel_is_registered_with_its_launch_bound() {
        let text = "SPILLWAY_KERNEL 256 SPILLWAY_NAME embed(const u32* tokens) {}\n\
                    SPILLWAY_KERNEL BOUND\n SPILLWAY_NAME\n norm (float* x) {} inline void other() {}";
        let expected = "#include \"rows.cu\"\n#include \"emu/driver_kernels.hpp\"\n\
                        REGISTER_KERNEL(embed, 256)\nREGISTER_KERNEL(norm, BOUND)\n";
        assert_eq!(registrations("rows.cu", text), expected);
    }
}
