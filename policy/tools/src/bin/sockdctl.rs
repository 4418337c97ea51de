//! Looks at the sessions of a running `sockd`, and ends them.

use std::process::ExitCode;

use sockd_policy_tools::ctl;

fn main() -> ExitCode {
    ctl::main()
}
