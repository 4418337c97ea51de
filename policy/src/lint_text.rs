//! Warnings about spellings in a rule file that the compiled rules no longer show.

use alloc::format;
use alloc::string::String;
use alloc::vec::Vec;
use core::net::IpAddr;

use sockd_table::{HostName, is_mistyped_address};

use crate::error::Faults;
use crate::line::{Words, each_line};
use crate::lint::Warning;

/// Finds masks that look inverted, addresses with bits beside their mask, names where a mistyped `ALL` may be meant, and
/// names on lines that deny. Returns at most a thousand warnings. Lines with a fault have none.
pub fn lint_text(text: &[u8]) -> Vec<Warning> {
    let (mut warnings, mut faults) = (Vec::new(), Faults::default());
    each_line(text, &mut faults, |number, line| {
        let mut words = Words::of(number, line)?;
        let denies = words.take() == Some("deny");
        while let Some(word) = words.take() {
            let doubt =
                doubt(word, words.peek()).or_else(|| if denies { porous(word, words.peek()) } else { None });
            let line = u32::try_from(number).unwrap_or(u32::MAX);
            warnings.extend(doubt.map(|text| Warning::new(line, text)));
        }
        Ok(())
    });
    warnings.truncate(1000);
    warnings
}

/// The doubt about a word and the one behind it, if any.
fn doubt(word: &str, next: Option<&str>) -> Option<String> {
    if next.is_some() && ["all", "any", "All", "Any", "ANY"].contains(&word) {
        return Some(format!("\"{word}\" is the name of a host; every host is ALL"));
    }
    let (address, mask) = match word.split_once('/') {
        Some((address, length)) => {
            (address.parse().ok()?, mask_of(address.parse().ok()?, length.parse().ok()?)?)
        }
        None => (word.parse::<IpAddr>().ok()?, bits(next?.parse::<IpAddr>().ok()?)),
    };
    let (bits, width) = (bits(address), if address.is_ipv4() { 32 } else { 128 });
    let inverted = !mask & (u128::MAX >> 128u32.checked_sub(width)?);
    let is_prefix = |mask: u128| mask.leading_ones().saturating_add(mask.trailing_zeros()) >= 128;
    let left = |mask: u128| mask.checked_shl(128u32.saturating_sub(width)).unwrap_or(mask);
    if mask == 0 && bits != 0 {
        return Some(format!("the mask of {address} is all zeros: every host matches"));
    }
    if mask != 0 && !is_prefix(left(mask)) && is_prefix(left(inverted)) {
        return Some(format!("the mask of {address} looks inverted: a bit that counts is 1 in it"));
    }
    (bits & inverted != 0).then(|| format!("{address} has bits that its mask leaves out"))
}

fn bits(address: IpAddr) -> u128 {
    match address {
        IpAddr::V4(address) => u32::from(address).into(),
        IpAddr::V6(address) => address.into(),
    }
}

fn mask_of(address: IpAddr, length: u32) -> Option<u128> {
    let width = if address.is_ipv4() { 32u32 } else { 128 };
    let beside = width.checked_sub(length)?;
    let all = u128::MAX >> 128u32.checked_sub(width)?;
    Some(all.checked_shl(beside).unwrap_or(0) & all)
}

/// The doubt about a name with its mask on a line that denies, if any.
fn porous(word: &str, mask: Option<&str>) -> Option<String> {
    mask?.parse::<IpAddr>().ok()?;
    let name = word.strip_prefix('.').unwrap_or(word);
    let is_name = word != "ALL" && word.parse::<IpAddr>().is_err() && !is_mistyped_address(word.as_bytes());
    (is_name && HostName::parse(name.as_bytes()).is_ok())
        .then(|| format!("denies {word} by name: another name or the bare address goes round it"))
}
