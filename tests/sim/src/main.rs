//! Plays runs of the simulation: one with its trace, or thousands.

#![allow(clippy::print_stdout, clippy::print_stderr, reason = "a program for the terminal")]
#![allow(clippy::disallowed_methods, reason = "fresh seeds come from the clock")]

#[cfg(feature = "seeded-bugs")]
mod bugs;

use std::process::ExitCode;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Instant, SystemTime};

use clap::Parser;
use outpost_sim::{Coverage, FIXED_SEEDS, FIXED_SITE_SEEDS, Options, Report, play, play_sites};

/// Plays simulated runs of the broker; every run is decided by its seed.
#[derive(Debug, Parser)]
struct Args {
    /// Play the run of this seed alone.
    #[arg(long, env = "OUTPOST_SEED")]
    seed: Option<u64>,
    /// Print what happens in it.
    #[arg(long, requires = "seed")]
    trace: bool,
    /// Play several sites with bridges between them.
    #[arg(long)]
    sites: bool,
    /// Play so many runs, beside those of the fixed seeds.
    #[arg(long, default_value_t = 1_000, env = "OUTPOST_SEEDS")]
    seeds: u64,
    /// The first of their seeds; none: it comes from the time.
    #[arg(long, env = "OUTPOST_SEED_BASE")]
    base: Option<u64>,
    /// Runs at a time; none: as many as there are processors.
    #[arg(long)]
    threads: Option<usize>,
    /// Play the others, too, when one has failed.
    #[arg(long)]
    keep_going: bool,
    /// The disk says that it has synced and has not: a failure has to be found.
    #[arg(long)]
    lying_disk: bool,
    /// The broker makes this mistake: a failure has to be found.
    #[cfg(feature = "seeded-bugs")]
    #[arg(long, value_parser = bugs::named)]
    bug: Option<outpost_broker::core::Bug>,
    /// Proves that each known mistake is found, within 200 seeds.
    #[cfg(feature = "seeded-bugs")]
    #[arg(long)]
    bugs: bool,
}

fn main() -> ExitCode {
    let args = Args::parse();
    let options = Options {
        is_printed: false,
        has_lying_disk: args.lying_disk,
        #[cfg(feature = "seeded-bugs")]
        bug: args.bug,
    };
    // What failed is told once, with the command that shows it.
    std::panic::set_hook(Box::new(|_| {}));
    let kind = if args.sites { Kind::Sites } else { Kind::Site(options) };
    if let Some(seed) = args.seed {
        return tell_one(&kind.play(seed, args.trace));
    }
    #[cfg(feature = "seeded-bugs")]
    if args.bugs {
        return bugs::find_all();
    }
    let base = args.base.unwrap_or_else(|| {
        let since = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
        since.as_secs() * 1_000_000
    });
    let fixed = if args.sites { FIXED_SITE_SEEDS } else { FIXED_SEEDS }.iter().copied();
    let seeds: Vec<u64> = fixed.chain(base..base + args.seeds).collect();
    let threads = args
        .threads
        .unwrap_or_else(|| std::thread::available_parallelism().map_or(1, std::num::NonZero::get));
    play_all(&seeds, base, threads, args.keep_going, kind)
}

/// What is played.
#[derive(Clone, Copy)]
enum Kind {
    /// One site.
    Site(Options),
    /// Several, with bridges between them.
    Sites,
}

impl Kind {
    fn play(self, seed: u64, is_printed: bool) -> Report {
        match self {
            Self::Site(options) => play(seed, Options { is_printed, ..options }),
            Self::Sites => play_sites(seed, is_printed),
        }
    }
}

fn tell_one(report: &Report) -> ExitCode {
    println!("seed {}: {} events, hash {:016x}", report.seed, report.events, report.hash);
    match &report.failure {
        None => ExitCode::SUCCESS,
        Some(failure) => {
            eprintln!("seed {} fails: {failure}", report.seed);
            ExitCode::FAILURE
        }
    }
}

fn play_all(seeds: &[u64], base: u64, threads: usize, keep_going: bool, kind: Kind) -> ExitCode {
    let begun = Instant::now();
    let next = AtomicU64::new(0);
    let has_failed = AtomicBool::new(false);
    let all = Mutex::new(Coverage::default());
    std::thread::scope(|scope| {
        for _ in 0..threads {
            scope.spawn(|| {
                while (keep_going || !has_failed.load(Ordering::Relaxed))
                    && let Some(seed) = seeds.get(next.fetch_add(1, Ordering::Relaxed) as usize)
                {
                    let report = kind.play(*seed, false);
                    all.lock().unwrap_or_else(|e| e.into_inner()).merge(&report.coverage);
                    if let Some(failure) = report.failure {
                        has_failed.store(true, Ordering::Relaxed);
                        eprintln!("seed {seed} fails: {failure}\n{}", replay(*seed, kind));
                    }
                }
            });
        }
    });
    let coverage = all.into_inner().unwrap_or_else(|e| e.into_inner());
    let took_s = begun.elapsed().as_secs_f64();
    println!("{} runs from seed {base} in {took_s:.1} s:\n{coverage}", seeds.len());
    let blind_spots = coverage.blind_spots();
    if has_failed.into_inner() {
        return ExitCode::FAILURE;
    }
    if seeds.len() >= 1_000 && !blind_spots.is_empty() {
        eprintln!("these things never happened: {blind_spots:?}");
        return ExitCode::FAILURE;
    }
    ExitCode::SUCCESS
}

/// The command that plays a run again.
fn replay(seed: u64, kind: Kind) -> String {
    let Kind::Site(options) = kind else {
        return format!("cargo run --profile sim -p outpost-sim -- --sites --seed {seed} --trace");
    };
    #[cfg(feature = "seeded-bugs")]
    if let Some(bug) = options.bug {
        return bugs::replay(seed, bug);
    }
    let disk = if options.has_lying_disk { " --lying-disk" } else { "" };
    format!("cargo run --profile sim -p outpost-sim -- --seed {seed} --trace{disk}")
}
