//! `outpost version`.

use clap::Args;

use super::output::{Failure, Output};

/// Show the version and the protocol versions spoken
#[derive(Debug, Args)]
pub(super) struct Arguments {}

pub(super) fn execute(_: &Arguments, output: &mut Output<'_>) -> Result<(), Failure> {
    writeln!(output.out, "outpost {}", env!("CARGO_PKG_VERSION"))?;
    writeln!(output.out, "MQTT 3.1, 3.1.1 and 5.0")?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::super::output::capture;
    use super::*;

    #[test]
    fn version_and_protocols() {
        let (out, err, code) = capture(|output| execute(&Arguments {}, output));
        assert_eq!(
            out,
            concat!("outpost ", env!("CARGO_PKG_VERSION"), "\nMQTT 3.1, 3.1.1 and 5.0\n")
        );
        assert_eq!((err.as_str(), code), ("", 0));
    }
}
