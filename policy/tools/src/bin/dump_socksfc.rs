//! Lists frozen upstream lines.

use std::process::ExitCode;

use sockd_policy_tools::dump;
use sockd_policy_tools::files::Kind;

fn main() -> ExitCode {
    dump::main("dump_socksfc", Kind::Upstreams)
}
