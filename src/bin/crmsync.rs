//! The client: flags in, exit code out; everything else is in `crmsync::cli`.

use std::process::ExitCode;

fn main() -> ExitCode {
    crmsync::cli::run(std::env::args_os()).into()
}
