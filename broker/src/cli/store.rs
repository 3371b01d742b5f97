//! `outpost store`: what an operator does with a store that no broker has open.

mod inspect;

use std::fs::{self, File};
use std::io::{self, BufReader, BufWriter};
use std::path::{Path, PathBuf};

use clap::{Args, Subcommand};

use super::output::{Failure, Output};
use crate::config::{Config, Overrides, io_reason};
use crate::store::tools::{self, ExportError, ImportError, StoreFile};
use crate::store::{StoreError, StoreOptions};

/// Look into a store, check it, carry it elsewhere, make it small
///
/// The broker must not be running: a store that is in use is left alone. Without an option the store
/// is where `outpost run` would have it.
#[derive(Debug, Args)]
pub(super) struct Arguments {
    #[command(subcommand)]
    command: Command,
    /// The configuration file that names the data directory
    #[arg(short = 'c', long, value_name = "FILE", global = true)]
    config: Option<PathBuf>,
    /// The data directory, whatever the file says
    #[arg(long, value_name = "DIR", visible_alias = "data", global = true)]
    data_dir: Option<PathBuf>,
}

#[derive(Debug, Subcommand)]
enum Command {
    Inspect(inspect::Arguments),
    /// Check every page and every row
    ///
    /// Exits with 0 when all is well, with 1 when something is wrong; each problem is told on a line
    /// of its own. A damaged store is salvaged when the broker starts (store.on_corrupt).
    Verify,
    /// Write all of it as lines of JSON
    ///
    /// The format is described in docs/STORE-FORMAT.md. What cannot be read is left out, and the
    /// exit code is 1 then.
    Export {
        /// The file, which must not be there yet; "-": standard output
        file: PathBuf,
    },
    /// Make a store from what export wrote
    ///
    /// There must be no store yet, or an empty one. Nothing changes unless all of the file is right.
    Import {
        /// The file; "-": standard input
        file: PathBuf,
    },
    /// Make the file as small as its content allows
    Compact,
}

pub(super) fn execute(arguments: &Arguments, output: &mut Output<'_>) -> Result<(), Failure> {
    let Arguments { command, config, data_dir } = arguments;
    let overrides = Overrides { data: data_dir.clone(), ..Overrides::default() };
    let config = Config::load(config.as_deref(), overrides)
        .map_err(|errors| Failure::usage(errors.iter()))?;
    let data_dir = &config.store.path;
    let options = StoreOptions {
        cache_bytes: usize::try_from(config.store.cache_bytes).unwrap_or(usize::MAX),
        ..StoreOptions::default()
    };
    match command {
        Command::Inspect(arguments) => inspect::execute(arguments, &open(data_dir)?, output),
        Command::Verify => verify(&open(data_dir)?, output),
        Command::Export { file } => export(&open(data_dir)?, file, output),
        Command::Import { file } => import(data_dir, &options, file, output),
        Command::Compact => compact(data_dir, &options, output),
    }
}

fn open(data_dir: &Path) -> Result<StoreFile, Failure> {
    StoreFile::open(data_dir).map_err(failed)
}

fn verify(file: &StoreFile, output: &mut Output<'_>) -> Result<(), Failure> {
    let path = file.path().display();
    let verified = tools::verify(file).map_err(failed)?;
    for (rows, count) in &verified.rows {
        writeln!(output.out, "{rows}: {count}")?;
    }
    if verified.done_messages > 0 {
        let count = verified.done_messages;
        writeln!(output.out, "of them done, and removed at the next start: {count}")?;
    }
    if verified.count == 0 {
        writeln!(output.out, "{path}: OK")?;
        return Ok(());
    }
    for problem in &verified.problems {
        writeln!(output.err, "{path}: {problem}")?;
    }
    Err(Failure::work(format!("{path}: the store is damaged: {} problems", verified.count)))
}

fn export(file: &StoreFile, to: &Path, output: &mut Output<'_>) -> Result<(), Failure> {
    let exported = if to == Path::new("-") {
        tools::export(file, &mut BufWriter::new(&mut *output.out))
    } else {
        let created = File::options().write(true).create_new(true).open(to);
        let created = created.map_err(|error| in_file(to, "create", &error))?;
        let exported = tools::export(file, &mut BufWriter::new(&created));
        exported.and_then(|exported| Ok(created.sync_all().map(|()| exported)?))
    };
    let exported = exported.map_err(|error| match error {
        ExportError::Store(error) => failed(error),
        ExportError::Output(error) => {
            if to != Path::new("-") {
                // Half an export is none.
                fs::remove_file(to).ok();
            }
            in_file(to, "write", &error)
        }
    })?;
    if exported.damaged > 0 {
        let (path, damaged) = (file.path().display(), exported.damaged);
        let left_out = format!("{path}: {damaged} pages or rows cannot be read and were left out");
        return Err(Failure::work(left_out));
    }
    writeln!(output.err, "exported {} records", exported.records)?;
    Ok(())
}

fn import(
    data_dir: &Path,
    options: &StoreOptions,
    from: &Path,
    output: &mut Output<'_>,
) -> Result<(), Failure> {
    let imported = if from == Path::new("-") {
        tools::import(data_dir, options, &mut io::stdin().lock())
    } else {
        let file = File::open(from).map_err(|error| in_file(from, "open", &error))?;
        tools::import(data_dir, options, &mut BufReader::new(file))
    };
    let records = imported.map_err(|error| match error {
        ImportError::Store(error) => failed(error),
        ImportError::Input(error) => in_file(from, "read", &error),
        ImportError::Line { line, what } => {
            Failure::work(format!("{}:{line}: {what}", name(from, "standard input")))
        }
        error @ ImportError::NotEmpty(_) => Failure::work(error),
    })?;
    writeln!(output.err, "imported {records} records")?;
    Ok(())
}

fn compact(
    data_dir: &Path,
    options: &StoreOptions,
    output: &mut Output<'_>,
) -> Result<(), Failure> {
    let (before, after) = tools::compact(data_dir, options).map_err(failed)?;
    writeln!(output.out, "before: {before} bytes")?;
    writeln!(output.out, "after: {after} bytes")?;
    Ok(())
}

/// In the words of somebody who forgot that the broker runs.
fn failed(error: StoreError) -> Failure {
    match error {
        StoreError::AlreadyOpen { path } => {
            Failure::work(format!("{}: the store is in use by a running broker", path.display()))
        }
        StoreError::Access { path, action, source } => in_file(&path, action, &source),
        error => Failure::work(error),
    }
}

fn in_file(file: &Path, action: &str, error: &io::Error) -> Failure {
    if file == Path::new("-") && error.kind() == io::ErrorKind::BrokenPipe {
        return Failure::code(0, None);
    }
    let file = name(file, "standard output");
    Failure::work(format!("{file}: cannot {action}: {}", io_reason(error)))
}

fn name(file: &Path, dash: &str) -> String {
    if file == Path::new("-") { dash.to_owned() } else { file.display().to_string() }
}
