//! What a part of a run costs, from its begin to its end.

use std::time::Instant;

use anyhow::Result;

use crate::broker_process::{CpuTime, Process, Sample};
use crate::report::Report;

/// A measurement that has begun.
pub(crate) struct Measure {
    broker: Option<(Process, Sample)>,
    generator: CpuTime,
    begin: Instant,
}

/// The costs of a part of a run.
pub(crate) struct Costs {
    /// What the broker has used and grown by; none without its process.
    pub(crate) broker: Option<BrokerCosts>,
    /// CPU seconds of the generator for each second: near 1 it may be the limit.
    pub(crate) generator_busy_ratio: f64,
}

/// The broker's share.
pub(crate) struct BrokerCosts {
    pub(crate) cpu_us: f64,
    pub(crate) rss_growth_bytes: f64,
    pub(crate) rss_peak_bytes: u64,
    pub(crate) written_bytes: u64,
}

impl Measure {
    pub(crate) fn begin(pid: Option<u32>) -> Result<Self> {
        let broker = match pid.map(Process::new) {
            Some(process) => {
                let sample = process.sample()?;
                Some((process, sample))
            }
            None => None,
        };
        Ok(Self { broker, generator: Process::own().cpu()?, begin: Instant::now() })
    }

    pub(crate) fn end(&self) -> Result<Costs> {
        let generator_ns = Process::own().cpu()?.since(self.generator);
        let broker = match &self.broker {
            Some((process, begin)) => Some(costs(*begin, process.sample()?)),
            None => None,
        };
        let elapsed_ns = self.begin.elapsed().as_nanos().max(1);
        Ok(Costs { broker, generator_busy_ratio: generator_ns as f64 / elapsed_ns as f64 })
    }
}

fn costs(begin: Sample, end: Sample) -> BrokerCosts {
    BrokerCosts {
        cpu_us: end.cpu.since(begin.cpu) as f64 / 1_000.0,
        rss_growth_bytes: end.rss_bytes as f64 - begin.rss_bytes as f64,
        rss_peak_bytes: end.rss_peak_bytes,
        written_bytes: end.written_bytes.saturating_sub(begin.written_bytes),
    }
}

/// The names under which costs are reported, as parts of a run have names of their own.
pub(crate) struct CostNames {
    pub(crate) cpu_us_each: &'static str,
    pub(crate) rss_bytes_each: Option<&'static str>,
    pub(crate) written_bytes_each: Option<&'static str>,
    pub(crate) generator_busy_ratio: &'static str,
}

impl Costs {
    /// Reports the costs for each of `count`.
    pub(crate) fn report(&self, report: &mut Report, names: &CostNames, count: u64) {
        if let Some(broker) = &self.broker {
            let each = count as f64;
            report.number(names.cpu_us_each, broker.cpu_us / each);
            if let Some(name) = names.rss_bytes_each {
                report.number(name, broker.rss_growth_bytes / each);
            }
            if let Some(name) = names.written_bytes_each {
                report.number(name, broker.written_bytes as f64 / each);
            }
        }
        report.number(names.generator_busy_ratio, self.generator_busy_ratio);
    }

    /// Reports the broker's peak of resident memory.
    pub(crate) fn report_peak(&self, report: &mut Report) {
        if let Some(broker) = &self.broker {
            report.count("rss_peak_bytes", broker.rss_peak_bytes);
        }
    }
}
