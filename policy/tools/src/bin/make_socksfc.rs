//! Freezes `socks.conf`.

use std::process::ExitCode;

use sockd_policy_tools::files::Kind;
use sockd_policy_tools::make;

fn main() -> ExitCode {
    make::main("make_socksfc", Kind::Upstreams)
}
