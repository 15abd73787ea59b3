//! How wide the machine code of each kernel reads global memory, as NVIDIA's disassembler shows it.
//!
//! A kernel that streams weights or keys is near the memory's speed only if its threads ask for 16 bytes at a time. Source
//! that says so can still be compiled to narrower loads, so the machine code is looked at.
//!
//! Source: the names of instructions in NVIDIA's "CUDA Binary Utilities", section "Hopper instruction set".

use std::collections::BTreeMap;
use std::path::Path;

use anyhow::{Context, ensure};

use crate::toolkit;

/// Loads from global memory: to registers, and straight to shared memory.
const LOADS: [&str; 2] = ["LDG", "LDGSTS"];
/// How an instruction says that it moves 16 bytes.
const WIDEST: &str = "128";
/// Kernels that read each byte of a large input once begin so.
const STREAMING: [&str; 5] =
    ["linear_skinny_", "linear_tile_", "paged_decode_", "paged_prefill_", "read_bytes"];

/// Load instructions in the machine code of one kernel.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(super) struct Loads {
    /// Of 16 bytes a thread.
    pub(super) widest: u32,
    /// Of fewer.
    pub(super) narrower: u32,
}

/// Counts the loads of every kernel of a fatbin.
pub(super) fn count(fatbin: &Path) -> anyhow::Result<BTreeMap<String, Loads>> {
    let mut command = toolkit::disassembler()?;
    let output = command.arg("-sass").arg(fatbin).output().context("cuobjdump could not be started")?;
    let complaint = String::from_utf8_lossy(&output.stderr);
    ensure!(output.status.success(), "cuobjdump failed on {}: {complaint}", fatbin.display());
    Ok(parse(&String::from_utf8_lossy(&output.stdout)))
}

/// Reads what `cuobjdump -sass` prints.
fn parse(listing: &str) -> BTreeMap<String, Loads> {
    let mut kernels: BTreeMap<String, Loads> = BTreeMap::new();
    let mut current: Option<&mut Loads> = None;
    for line in listing.lines() {
        if let Some((_, name)) = line.split_once("Function : ") {
            current = Some(kernels.entry(name.trim().to_owned()).or_default());
        } else if let (Some(loads), Some(instruction)) = (current.as_deref_mut(), instruction(line)) {
            let mut parts = instruction.split('.');
            if parts.next().is_some_and(|name| LOADS.contains(&name)) {
                let is_widest = parts.any(|part| part == WIDEST);
                *(if is_widest { &mut loads.widest } else { &mut loads.narrower }) += 1;
            }
        }
    }
    kernels
}

/// The instruction's name with its dotted options, without address, predicate and operands.
fn instruction(line: &str) -> Option<&str> {
    let (_, rest) = line.trim_start().strip_prefix("/*")?.split_once("*/")?;
    rest.split_whitespace().find(|word| !word.starts_with('@'))
}

/// Streaming kernels that never read 16 bytes at once.
pub(super) fn complaints(kernels: &BTreeMap<String, Loads>) -> Vec<String> {
    let is_streaming = |name: &str| STREAMING.iter().any(|beginning| name.starts_with(beginning));
    let narrow = kernels.iter().filter(|(name, loads)| is_streaming(name) && loads.widest == 0);
    narrow.map(|(name, _)| format!("{name} streams its input, but has no load of 16 bytes")).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    const LISTING: &str = "\
\t\tFunction : linear_skinny_bf16_m8
\t.headerflags\t@\"EF_CUDA_SM90\"
        /*0000*/                   LDC R1, c[0x0][0x28] ;                /* 0x00000a00ff017b82 */
                                                                         /* 0x000fe40000000f00 */
        /*0010*/              @!P0 LDG.E.128.CONSTANT R4, desc[UR4][R2.64] ; /* 0x0000000402048981 */
        /*0020*/                   LDGSTS.E.BYPASS.LTC128B.128 [R19], desc[UR12][R10.64], P0 ; /* 0x0 */
        /*0030*/                   LDGSTS.E.LTC128B [R19], desc[UR12][R10.64], P0 ; /* 0x0 */
\t\tFunction : paged_decode_narrow
        /*0000*/                   LDG.E.64 R4, desc[UR4][R2.64] ; /* 0x0000000402048981 */
        /*0010*/                   STG.E.128 desc[UR4][R2.64], R4 ; /* 0x0000000402048981 */
";

    #[test]
    fn loads_are_counted_by_their_width_and_nothing_else_is() {
        let kernels = parse(LISTING);
        assert_eq!(kernels["linear_skinny_bf16_m8"], Loads { widest: 2, narrower: 1 });
        assert_eq!(kernels["paged_decode_narrow"], Loads { widest: 0, narrower: 1 });
    }

    #[test]
    fn only_streaming_kernels_need_wide_loads() {
        let mut kernels = parse(LISTING);
        kernels.insert("soft_cap".to_owned(), Loads::default());
        let complaint = "paged_decode_narrow streams its input, but has no load of 16 bytes";
        assert_eq!(complaints(&kernels), [complaint]);
    }
}
