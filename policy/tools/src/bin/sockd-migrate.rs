//! Translates a configuration of Dante.

use sockd_policy_tools::migrate;

fn main() -> std::process::ExitCode {
    migrate::main()
}
