//! How much memory there is to take.

use std::fs;

/// The memory that was found, in bytes; each absent where it cannot be read.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(super) struct Found {
    /// What the machine has.
    pub(super) total: Option<u64>,
    /// What the machine has free.
    pub(super) machine: Option<u64>,
    /// What the process's control group leaves.
    pub(super) group: Option<u64>,
}

impl Found {
    /// Memory that this process may still take: the lesser of the two.
    pub(super) fn available(self) -> Option<u64> {
        match (self.machine, self.group) {
            (Some(machine), Some(group)) => Some(machine.min(group)),
            (machine, group) => machine.or(group),
        }
    }
}

/// Looks at the machine and at the control group.
pub(super) fn find() -> Found {
    let read = |path: &str| fs::read_to_string(path).ok();
    let meminfo = read("/proc/meminfo").unwrap_or_default();
    let group = match (read("/sys/fs/cgroup/memory.max"), read("/sys/fs/cgroup/memory.current")) {
        (Some(max), Some(current)) => left_in_group(&max, &current),
        _ => None,
    };
    Found { total: line_of(&meminfo, "MemTotal:"), machine: line_of(&meminfo, "MemAvailable:"), group }
}

/// Memory that this process may still take, in bytes.
pub(super) fn available_bytes() -> Option<u64> {
    find().available()
}

/// A line of `/proc/meminfo`.
fn line_of(text: &str, name: &str) -> Option<u64> {
    let line = text.lines().find_map(|line| line.strip_prefix(name))?;
    let kib: u64 = line.trim().strip_suffix("kB")?.trim().parse().ok()?;
    Some(kib * 1024)
}

/// What a control group's limit leaves; absent without a limit.
fn left_in_group(max: &str, current: &str) -> Option<u64> {
    let max: u64 = max.trim().parse().ok()?;
    let current: u64 = current.trim().parse().ok()?;
    Some(max.saturating_sub(current))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_the_kernels_files() {
        let text = "MemTotal:       16000000 kB\nMemFree:  1000 kB\nMemAvailable:    8000000 kB\n";
        assert_eq!(line_of(text, "MemAvailable:"), Some(8_192_000_000));
        assert_eq!(line_of("MemTotal: 1 kB\n", "MemAvailable:"), None);
        assert_eq!(left_in_group("1000\n", "300\n"), Some(700));
        assert_eq!(left_in_group("max\n", "300\n"), None);
        let found = |machine, group| Found { total: None, machine, group }.available();
        assert_eq!(
            [found(Some(5), Some(3)), found(Some(5), None), found(None, None)],
            [Some(3), Some(5), None]
        );
    }
}
