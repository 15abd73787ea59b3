//! The machine that measures, in a line for reports.

use std::fs;

/// Processor, cores and memory of this machine, as far as they can be told.
pub(crate) fn describe() -> String {
    let read = |path: &str| fs::read_to_string(path).unwrap_or_default();
    let cores = std::thread::available_parallelism().map_or(0, usize::from);
    let kernel = read("/proc/sys/kernel/osrelease");
    format!(
        "{}, {cores} cores, {} GiB, {} {}",
        value(&read("/proc/cpuinfo"), "model name").unwrap_or(std::env::consts::ARCH),
        memory_gib(&read("/proc/meminfo")),
        std::env::consts::OS,
        kernel.trim()
    )
}

fn value<'a>(text: &'a str, name: &str) -> Option<&'a str> {
    text.lines().find_map(|line| line.strip_prefix(name)?.trim_start().strip_prefix(':')).map(str::trim)
}

fn memory_gib(meminfo: &str) -> u64 {
    let kib = value(meminfo, "MemTotal").and_then(|text| text.strip_suffix("kB")?.trim().parse::<u64>().ok());
    kib.map_or(0, |kib| kib.div_ceil(1 << 20))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_the_kernels_files() {
        let cpu = "processor\t: 0\nmodel name\t: AMD EPYC\nmodel name\t: other\n";
        assert_eq!(value(cpu, "model name"), Some("AMD EPYC"));
        assert_eq!((memory_gib("MemTotal:       16316412 kB\n"), memory_gib("")), (16, 0));
        assert!(describe().contains(" cores, "));
    }
}
