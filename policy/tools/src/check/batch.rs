//! Many requests, a line each.

use std::io::{self, BufWriter, Write};
use std::path::Path;

use sockd_policy::{DenyReason, Route, Upstream, Way};

use crate::files::Fault;

use super::asked::Asked;
use super::trial::Trial;

/// Answers `user src dst port` lines, behind which `bind` and `socks5` may stand, a line each. Blank lines and comments
/// are passed over. Returns whether every line has an answer.
///
/// # Errors
/// The file cannot be read.
pub(super) fn run(trial: &Trial, path: &Path) -> Result<bool, Fault> {
    let text = std::fs::read_to_string(path).map_err(Fault::Unreadable)?;
    let mut out = BufWriter::new(io::stdout().lock());
    let mut all = true;
    let text = text.strip_prefix('\u{feff}').unwrap_or(&text);
    for (number, line) in (1..).zip(text.lines()) {
        let Some(answer) = answer(trial, line) else { continue };
        let answer = answer.unwrap_or_else(|complaint| {
            all = false;
            format!("error line {number}: {complaint}")
        });
        if writeln!(out, "{answer}").is_err() {
            return Ok(false);
        }
    }
    Ok(all && out.flush().is_ok())
}

/// The answer to one line; `None` if the line has no request.
fn answer(trial: &Trial, line: &str) -> Option<Result<String, String>> {
    let words: Vec<&str> = line.split('#').next().unwrap_or_default().split_whitespace().collect();
    Some(match words[..] {
        [] => return None,
        [user, source, destination, port, ref besides @ ..] => {
            Asked::of(user.as_bytes(), source, destination, port, &trial.services)
                .and_then(|asked| asked.besides(besides))
                .map(|asked| verdict(trial, &asked))
        }
        _ => Err("expected user, src_addr, dst_addr and service or port".to_owned()),
    })
}

/// The verdict in one line.
fn verdict(trial: &Trial, asked: &Asked) -> String {
    let outcome = trial.decide(asked);
    let by = outcome.rule.map_or("no line".to_owned(), |rule| trial.rules.place(rule.line()).to_string());
    match (outcome.verdict, outcome.refusal, outcome.route) {
        (Err(why @ (DenyReason::NoIdentd | DenyReason::BadIdentity)), ..) => format!("deny {by}: {why}"),
        (Err(_), ..) => format!("deny {by}"),
        (Ok(_), Some(refusal), _) => format!("refused {by}: {refusal}"),
        (Ok(_), None, Some(Route::NoMatch | Route::NeedNames | Route::NamesUnavailable { .. })) => {
            format!("refused {by}: no route")
        }
        (Ok(_), None, _) => match &outcome.upstream {
            Some(
                Upstream::By { way: Way::Deny, .. } | Upstream::NeedNames | Upstream::NamesUnavailable { .. },
            ) => {
                format!("refused {by}: denied upstream")
            }
            Some(Upstream::By { way: way @ Way::Sockd(..), .. }) => format!("permit {by}: {way}"),
            _ => format!("permit {by}"),
        },
    }
}
