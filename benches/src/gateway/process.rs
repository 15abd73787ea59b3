//! What a process uses, as Linux tells it.

use std::fs;
use std::time::Duration;

use anyhow::Context;
use serde::Serialize;

/// Processor time and memory of some processes together.
#[derive(Debug, Clone, Copy, PartialEq, Default, Serialize)]
pub(super) struct Usage {
    /// Of all their threads.
    pub(super) cpu_seconds: f64,
    /// What they hold in memory at the end.
    pub(super) resident_bytes: u64,
}

impl Usage {
    /// As it is now.
    pub(super) fn of(pids: &[u32]) -> anyhow::Result<Self> {
        pids.iter().try_fold(Self::default(), |sum, &pid| {
            let one = Self::of_one(pid).with_context(|| format!("process {pid} cannot be watched"))?;
            let cpu_seconds = sum.cpu_seconds + one.cpu_seconds;
            Ok(Self { cpu_seconds, resident_bytes: sum.resident_bytes + one.resident_bytes })
        })
    }

    fn of_one(pid: u32) -> anyhow::Result<Self> {
        let mut nanos = 0;
        for thread in fs::read_dir(format!("/proc/{pid}/task"))? {
            // A thread may end between the two looks.
            let Ok(text) = fs::read_to_string(thread?.path().join("schedstat")) else { continue };
            nanos += on_processor(&text).context("schedstat cannot be read")?;
        }
        let status = fs::read_to_string(format!("/proc/{pid}/status"))?;
        let resident_bytes = resident(&status).context("the status has no VmRSS")?;
        Ok(Self { cpu_seconds: Duration::from_nanos(nanos).as_secs_f64(), resident_bytes })
    }

    /// What was used since an earlier moment.
    pub(super) fn since(self, before: Self) -> Self {
        Self { cpu_seconds: (self.cpu_seconds - before.cpu_seconds).max(0.0), ..self }
    }

    /// Both spans together, with the memory of the later one.
    pub(super) fn plus(self, later: Self) -> Self {
        Self { cpu_seconds: self.cpu_seconds + later.cpu_seconds, ..later }
    }
}

/// Nanoseconds on a processor: the first of three numbers.
fn on_processor(schedstat: &str) -> Option<u64> {
    schedstat.split_ascii_whitespace().next()?.parse().ok()
}

fn resident(status: &str) -> Option<u64> {
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"))?;
    let kibibytes: u64 = line.trim().strip_suffix("kB")?.trim().parse().ok()?;
    Some(kibibytes * 1024)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn linux_files_are_read() {
        assert_eq!(on_processor("1234567890 5 6\n"), Some(1_234_567_890));
        assert_eq!(resident("Name:\tx\nVmRSS:\t    2048 kB\nThreads:\t1\n"), Some(2 << 20));
        let own = Usage::of(&[std::process::id()]).expect("this process is there");
        assert!(own.cpu_seconds > 0.0 && own.resident_bytes > 0, "{own:?}");
        assert!(Usage::of(&[u32::MAX]).is_err());
    }
}
