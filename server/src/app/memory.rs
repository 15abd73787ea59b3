//! How much memory there is to take.

use std::fs;

use crate::config::ByteSize;

/// The memory that was found, in bytes; each absent where it cannot be read.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(super) struct Memory {
    /// What the machine has.
    pub(super) total: Option<u64>,
    /// What the machine has free.
    pub(super) machine: Option<u64>,
    /// What the process's control group leaves.
    pub(super) group: Option<u64>,
}

impl Memory {
    /// Memory that this process may still take: the lesser of the two.
    pub(super) fn available(self) -> Option<u64> {
        match (self.machine, self.group) {
            (Some(machine), Some(group)) => Some(machine.min(group)),
            (machine, group) => machine.or(group),
        }
    }
}

/// Of the machine's free memory, the part that the KV cache takes unasked is one in so many: prompts, buffers and other
/// programs need the rest.
const HOST_DIVISOR: u64 = 4;
/// Of what is left of a GPU's arena, one in so many bytes stays free: pieces are rounded up, and the room of a step's batch
/// is cut anew where blocks hold more tokens than usual.
const ARENA_DIVISOR: u64 = 32;
/// What the KV cache takes where the free memory cannot be told.
const FALLBACK_KV_CACHE: ByteSize = ByteSize::from_mib(1024);

/// Where the model and its KV cache live, and how much of it is free.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Room {
    /// The machine's memory, shared with other programs.
    Host {
        /// Bytes, if that can be told.
        available: Option<u64>,
    },
    /// A GPU's arena, which nobody else uses.
    Gpu {
        /// Bytes.
        arena: u64,
    },
}

impl Room {
    /// How much is free, if that can be told.
    pub(super) fn bytes(self) -> Option<u64> {
        match self {
            Self::Host { available } => available,
            Self::Gpu { arena } => Some(arena),
        }
    }

    /// The same with `taken` bytes less.
    pub(super) fn less(self, taken: u64) -> Self {
        match self {
            Self::Host { available } => {
                Self::Host { available: available.map(|available| available.saturating_sub(taken)) }
            }
            Self::Gpu { arena } => Self::Gpu { arena: arena.saturating_sub(taken) },
        }
    }

    /// What the KV cache takes of it unasked, in bytes.
    pub(super) fn kv_budget(self) -> u64 {
        match self {
            Self::Host { available: None } => FALLBACK_KV_CACHE.bytes(),
            Self::Host { available: Some(available) } => available / HOST_DIVISOR,
            Self::Gpu { arena } => arena - arena / ARENA_DIVISOR,
        }
    }
}

/// Looks at the machine and at the control group.
pub(super) fn find() -> Memory {
    let read = |path: &str| fs::read_to_string(path).ok();
    let meminfo = read("/proc/meminfo").unwrap_or_default();
    let group = match (read("/sys/fs/cgroup/memory.max"), read("/sys/fs/cgroup/memory.current")) {
        (Some(max), Some(current)) => left_in_group(&max, &current),
        _ => None,
    };
    Memory { total: line_of(&meminfo, "MemTotal:"), machine: line_of(&meminfo, "MemAvailable:"), group }
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
    fn the_cache_takes_a_part_of_shared_memory_and_nearly_all_of_an_arena() {
        assert_eq!(Room::Host { available: Some(4000) }.less(1000).kv_budget(), 750);
        assert_eq!(Room::Gpu { arena: 4200 }.less(1000).kv_budget(), 3100);
        assert_eq!(Room::Gpu { arena: 10 }.less(1000).bytes(), Some(0));
        assert_eq!(Room::Host { available: None }.less(1000).kv_budget(), 1 << 30);
    }

    #[test]
    fn reads_the_kernels_files() {
        let text = "MemTotal:       16000000 kB\nMemFree:  1000 kB\nMemAvailable:    8000000 kB\n";
        assert_eq!(line_of(text, "MemAvailable:"), Some(8_192_000_000));
        assert_eq!(line_of("MemTotal: 1 kB\n", "MemAvailable:"), None);
        assert_eq!(left_in_group("1000\n", "300\n"), Some(700));
        assert_eq!(left_in_group("max\n", "300\n"), None);
        let found = |machine, group| Memory { total: None, machine, group }.available();
        assert_eq!(
            [found(Some(5), Some(3)), found(Some(5), None), found(None, None)],
            [Some(3), Some(5), None]
        );
    }
}
