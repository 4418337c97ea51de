//! Says what sockd would decide on a request.

use std::process::ExitCode;

use sockd_policy_tools::check;

fn main() -> ExitCode {
    check::main()
}
