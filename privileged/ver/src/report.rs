//! The findings, as text and as JSON.

use serde::Serialize;
use std::fmt;

/// A lock, and the findings on it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub(crate) struct Layer {
    pub(crate) name: &'static str,
    pub(crate) holds: bool,
    pub(crate) found: String,
}

impl fmt::Display for Layer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}{}", self.name, if self.holds { "" } else { "MISSING, " }, self.found)
    }
}

/// Makes a layer with this name.
pub(crate) fn layer(name: &'static str, holds: bool, found: impl Into<String>) -> Layer {
    Layer { name, holds, found: found.into() }
}

/// A kind of process, and its layers.
#[derive(Debug, Serialize)]
pub(crate) struct Process {
    pub(crate) name: &'static str,
    pub(crate) layers: Vec<Layer>,
}

/// The findings on all processes.
#[derive(Debug, Serialize)]
pub(crate) struct Found {
    pub(crate) processes: Vec<Process>,
    /// The attempts of a session worker.
    pub(crate) attempts: Vec<Layer>,
    /// Locks of newer kernels, none of which is required.
    pub(crate) newer_kernels: Vec<Layer>,
}

/// Everything that `-ver` says.
#[derive(Debug, Serialize)]
pub(crate) struct Report {
    version: &'static str,
    facts: Vec<String>,
    notes: Vec<String>,
    #[serde(flatten)]
    found: Found,
    sandbox: &'static str,
    /// The names of the layers that do not hold, each once.
    missing: Vec<&'static str>,
}

impl Report {
    pub(crate) fn new(facts: Vec<String>, notes: Vec<String>, found: Found) -> Self {
        let layers = found.processes.iter().flat_map(|process| &process.layers).chain(&found.attempts);
        let mut missing = Vec::new();
        for layer in layers.filter(|layer| !layer.holds) {
            if !missing.contains(&layer.name) {
                missing.push(layer.name);
            }
        }
        let sandbox = if missing.is_empty() { "full" } else { "reduced" };
        Self { version: env!("CARGO_PKG_VERSION"), facts, notes, found, sandbox, missing }
    }

    /// Whether every layer holds in every process.
    pub(crate) fn is_full(&self) -> bool {
        self.missing.is_empty()
    }

    /// One JSON object.
    pub(crate) fn json(&self) -> String {
        serde_json::to_string_pretty(self).unwrap_or_default()
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.facts.iter().try_for_each(|fact| writeln!(f, "\t{fact}."))?;
        self.notes.iter().try_for_each(|note| writeln!(f, "\tNote: {note}."))?;
        let Found { processes, attempts, newer_kernels } = &self.found;
        for Process { name, layers } in processes {
            writeln!(f, "\t{name}:")?;
            layers.iter().try_for_each(|layer| writeln!(f, "\t  {layer}."))?;
        }
        attempts.iter().try_for_each(|layer| writeln!(f, "\t{layer}."))?;
        writeln!(f, "\tOf newer kernels, not required:")?;
        newer_kernels.iter().try_for_each(|layer| writeln!(f, "\t  {}: {}.", layer.name, layer.found))?;
        match self.is_full() {
            true => writeln!(f, "sandbox: full"),
            false => writeln!(f, "sandbox: reduced ({})", self.missing.join(", ")),
        }
    }
}
