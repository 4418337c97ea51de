//! The kinds of files that a table is made from.

use crate::columns::RuleBody;
use crate::query::InDoubt;
use crate::table::Table;

/// A kind of file. The table does not know what the lines of a file decide; the kind does.
#[derive(Debug, Clone, Copy)]
pub struct Kind {
    /// The number of the kind in a frozen file.
    pub number: u16,
    /// What lines with this choice do if they depend on something that cannot be known.
    pub in_doubt: fn(&Table, u32) -> InDoubt,
    /// What a line with this body asks of a client before its request is known, a bit for each method and further ones of
    /// the kind's own; 0 for nothing.
    pub asks: fn(&RuleBody) -> u8,
    /// Finds what no text of this kind would be compiled to, in a table that is sound otherwise.
    pub check: fn(&Table) -> Result<(), &'static str>,
}
