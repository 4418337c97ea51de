//! Shows the counters of sockd to Prometheus.

use sockd_policy_tools::exporter;

fn main() -> std::process::ExitCode {
    exporter::main()
}
