//! What a process costs, from `/proc`: CPU time, resident memory, bytes written to storage.

use std::fs;
use std::path::PathBuf;

use anyhow::{Context, Result};

/// A clock tick of `/proc/PID/stat`: Linux says 100 Hz to user space on every architecture.
const TICK_NS: u64 = 10_000_000;

/// A process that is watched.
pub(crate) struct Process {
    folder: PathBuf,
}

/// Its costs since its start, at one moment.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Sample {
    pub(crate) cpu: CpuTime,
    /// VmRSS; without what the kernel's socket buffers hold.
    pub(crate) rss_bytes: u64,
    /// VmHWM.
    pub(crate) rss_peak_bytes: u64,
    /// write_bytes of `/proc/PID/io`: what was sent towards storage.
    pub(crate) written_bytes: u64,
}

/// CPU time, user and system, told in two ways.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct CpuTime {
    /// Exact, but without the threads that have ended.
    threads_ns: u64,
    /// With all threads, in whole ticks.
    process_ns: u64,
}

impl CpuTime {
    /// The exact figure, unless a thread has ended meanwhile and took its share with it.
    pub(crate) fn since(self, begin: Self) -> u64 {
        let exact = self.threads_ns.saturating_sub(begin.threads_ns);
        let whole = self.process_ns.saturating_sub(begin.process_ns);
        if whole > exact + 3 * TICK_NS { whole } else { exact }
    }
}

impl Process {
    pub(crate) fn new(pid: u32) -> Self {
        Self { folder: PathBuf::from(format!("/proc/{pid}")) }
    }

    /// The generator.
    pub(crate) fn own() -> Self {
        Self { folder: PathBuf::from("/proc/self") }
    }

    pub(crate) fn sample(&self) -> Result<Sample> {
        let status = self.read("status")?;
        let kib = |name| named(&status, name).map_or(0, |kib| kib * 1_024);
        Ok(Sample {
            cpu: self.cpu()?,
            rss_bytes: kib("VmRSS:"),
            rss_peak_bytes: kib("VmHWM:"),
            // Another user's process does not show it.
            written_bytes: self
                .read("io")
                .ok()
                .and_then(|io| named(&io, "write_bytes:"))
                .unwrap_or(0),
        })
    }

    pub(crate) fn cpu(&self) -> Result<CpuTime> {
        Ok(CpuTime { threads_ns: self.threads_ns()?, process_ns: self.process_ns()? })
    }

    fn threads_ns(&self) -> Result<u64> {
        let mut total = 0;
        for task in fs::read_dir(self.folder.join("task")).context("the process has ended")? {
            // A thread may end between the listing and the read.
            let Ok(text) = fs::read_to_string(task?.path().join("schedstat")) else { continue };
            total += text.split(' ').next().and_then(|ns| ns.parse::<u64>().ok()).unwrap_or(0);
        }
        Ok(total)
    }

    fn process_ns(&self) -> Result<u64> {
        let stat = self.read("stat")?;
        // The name in parentheses may hold anything; utime and stime are fields 14 and 15.
        let after_name = stat.rsplit_once(") ").context("/proc/PID/stat has no name")?.1;
        let ticks = after_name.split(' ').skip(11).take(2).flat_map(str::parse::<u64>).sum::<u64>();
        Ok(ticks * TICK_NS)
    }

    fn read(&self, name: &str) -> Result<String> {
        let path = self.folder.join(name);
        fs::read_to_string(&path).with_context(|| path.display().to_string())
    }
}

/// The number after `name` in a file of lines.
fn named(text: &str, name: &str) -> Option<u64> {
    text.lines().find_map(|line| line.strip_prefix(name)?.split_whitespace().next()?.parse().ok())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_own_process_shows_its_costs() {
        let begin = Process::own().sample().expect("/proc is there");
        assert!(begin.rss_bytes > 100_000 && begin.rss_peak_bytes >= begin.rss_bytes);
        let mut sum = 0_u64;
        while Process::own().cpu().expect("/proc is there").since(begin.cpu) < 5_000_000 {
            sum = (0..100_000).fold(sum, |sum, i| sum.wrapping_mul(31).wrapping_add(i));
        }
        let other = Process::new(std::process::id()).sample().expect("/proc is there");
        assert!(other.cpu.since(begin.cpu) >= 5_000_000, "{sum}");
    }
}
