//! Keeps the users of sockd.

use sockd_policy_tools::passwd;

fn main() -> std::process::ExitCode {
    passwd::main()
}
