//! The kinds of files that a table is made from.

use crate::columns::RuleBody;
use crate::query::InDoubt;
use crate::table::Table;

/// A kind of file. The table does not know what the lines of a file decide; the kind does.
#[derive(Debug, Clone, Copy)]
pub struct Kind {
    /// The number of the kind in a frozen file.
    pub number: u16,
    /// The effect of lines with this choice if they depend on something that cannot be known.
    pub in_doubt: fn(&Table, u32) -> InDoubt,
    /// The methods that a line with this body asks of a client before its request is known. Each has a bit, and the
    /// kind may have further bits of its own; 0 stands for none.
    pub asks: fn(&RuleBody) -> u8,
    /// Finds a fault that no compiled text of this kind has, in a table that is sound otherwise.
    pub check: fn(&Table) -> Result<(), &'static str>,
}
