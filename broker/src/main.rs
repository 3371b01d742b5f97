//! The program `outpost`. All it does is in the library.

use std::process::ExitCode;

fn main() -> ExitCode {
    outpost_broker::cli::main()
}
