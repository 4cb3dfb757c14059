//! The program: flags in, an exit code out.

use std::process::ExitCode;

fn main() -> ExitCode {
    guideway::cli::main()
}
