//! The system call filter: a table of what is allowed, and death for the rest.
//!
//! A program of seccompiler knows one action for calls that match and one for those that do not. Calls that are to be
//! answered with an errno need a program of their own, stacked before the one that kills; the kernel takes the
//! strictest of all verdicts on a call (seccomp(2)), so the killing program must let them pass.

use crate::LockError;
use seccompiler::{
    BpfProgram, SeccompAction, SeccompCmpArgLen, SeccompCmpOp, SeccompCondition, SeccompFilter, SeccompRule,
    TargetArch,
};
use std::collections::BTreeMap;

/// One line of a profile: a system call, the condition on which it is allowed, and the reason for it.
///
/// Several rows of one call are alternatives. Written with [`row!`](crate::row).
#[derive(Debug, Clone, Copy)]
pub struct Row {
    /// Its number, one of `libc::SYS_*`.
    pub call: i64,
    /// Its name, for reports.
    pub name: &'static str,
    /// The condition.
    pub when: When,
    /// The reason.
    pub why: &'static str,
    /// The occasion on which the call is made, if the tests do not lead to it.
    pub rare: Option<&'static str>,
}

/// When a call is allowed.
#[derive(Debug, Clone, Copy)]
pub enum When {
    /// With any arguments.
    Always,
    /// When all these arguments are as stated.
    Args(&'static [Arg]),
    /// Never, but it is answered with this errno instead of death: for calls that the C library merely probes.
    Answer(i32),
}

/// A condition on one argument of a call.
#[derive(Debug, Clone, Copy)]
pub struct Arg {
    /// Which argument, from 0 to 5.
    pub index: u8,
    /// The value that it must have.
    pub test: Test,
}

/// A test of an argument. A filter sees numbers only: memory behind a pointer can be changed after the check.
#[derive(Debug, Clone, Copy)]
pub enum Test {
    /// An int (a descriptor, a command) of this value; the kernel ignores the upper half of the register.
    Int(u32),
    /// A pointer or a long of this value.
    Long(u64),
    /// An int of which no bits beyond these are set.
    OnlyBits(u32),
    /// A long of which none of these bits is set.
    NoneOf(u64),
    /// A long that is no greater.
    AtMost(u64),
}

/// A row of a profile: `row!(SYS_close, When::Always, "the reason")`. A call that an ordinary visit does not lead to
/// has [`rare`] at the end.
#[macro_export]
macro_rules! row {
    ($call:ident, $when:expr, $why:expr) => {
        $crate::row!($call, $when, $why, None)
    };
    ($call:ident, $when:expr, $why:expr, $rare:expr) => {
        $crate::Row {
            call: $crate::libc::$call,
            name: stringify!($call).split_at("SYS_".len()).1,
            when: $when,
            why: $why,
            rare: $rare,
        }
    };
}

/// The last part of a row whose call is made only on this occasion, which the tests of all rows do not bring about.
pub const fn rare(occasion: &'static str) -> Option<&'static str> {
    Some(occasion)
}

/// A compiled profile: programs to be installed one after the other.
#[derive(Debug, Clone)]
pub struct Program {
    stack: Vec<BpfProgram>,
}

impl Program {
    /// Puts the filter on this process, for good. Sets no_new_privs, without which the kernel would refuse it to
    /// an unprivileged process.
    pub fn install(&self) -> Result<(), LockError> {
        self.stack.iter().try_for_each(|program| {
            seccompiler::apply_filter(program).map_err(LockError::at("system call filter"))
        })
    }

    /// The programs themselves.
    pub fn stack(&self) -> &[BpfProgram] {
        &self.stack
    }
}

/// Puts a filter of these rows on this process: any other call ends it by SIGSYS. The same in every kind of build.
pub fn install_filter(rows: &[Row]) -> Result<(), LockError> {
    compile_filter(rows)?.install()
}

/// Compiles a profile without installing it.
pub fn compile_filter(rows: &[Row]) -> Result<Program, LockError> {
    let (allowed, answered) = sorted(rows)?;
    let mut stack = Vec::new();
    for (errno, calls) in answered {
        stack.push(program(calls, SeccompAction::Allow, SeccompAction::Errno(errno))?);
    }
    stack.push(program(allowed, SeccompAction::KillProcess, SeccompAction::Allow)?);
    Ok(Program { stack })
}

/// Calls with their rules, of which one has to hold; a call without rules has no condition.
type Calls = BTreeMap<i64, Vec<SeccompRule>>;

/// The calls that are allowed, and those that are answered by their errno.
///
/// A call may not both be answered and be allowed, as the answer would always win.
fn sorted(rows: &[Row]) -> Result<(Calls, BTreeMap<u32, Calls>), LockError> {
    let (mut allowed, mut answered) = (Calls::new(), BTreeMap::<u32, Calls>::new());
    for row in rows {
        let earlier = allowed.get(&row.call).map(Vec::is_empty);
        match (row.when, earlier) {
            (When::Always, None) => {
                allowed.insert(row.call, Vec::new());
            }
            (When::Answer(errno), None) => {
                allowed.insert(row.call, Vec::new());
                answered.entry(errno.unsigned_abs()).or_default().insert(row.call, Vec::new());
            }
            (When::Args(args), None | Some(false)) => {
                allowed.entry(row.call).or_default().push(rule(row, args)?);
            }
            _ => {
                let contradiction = format!("{} stands in two rows that contradict", row.name);
                return Err(LockError::new("profile", contradiction));
            }
        }
    }
    Ok((allowed, answered))
}

/// Puts a filter on this process that answers the calls of these rows and lets all others through. Each row is a
/// [`When::Answer`]. For a process that starts programs of others.
pub fn install_denials(rows: &[Row]) -> Result<(), LockError> {
    compile_denials(rows)?.install()
}

/// Compiles such a filter without installing it.
pub fn compile_denials(rows: &[Row]) -> Result<Program, LockError> {
    let mut answered = BTreeMap::<u32, Calls>::new();
    for row in rows {
        let When::Answer(errno) = row.when else {
            return Err(LockError::new("profile", format!("{} is not answered", row.name)));
        };
        let calls = answered.entry(errno.unsigned_abs()).or_default();
        // The same call by its number in the x32 convention, which shares the machine's mark.
        calls.extend([row.call, row.call | X32].map(|call| (call, Vec::new())));
    }
    let program = |(errno, calls)| program(calls, SeccompAction::Allow, SeccompAction::Errno(errno));
    Ok(Program { stack: answered.into_iter().map(program).collect::<Result<_, _>>()? })
}

/// The bit of the numbers of the x32 calls.
const X32: i64 = 0x4000_0000;

fn rule(row: &Row, args: &[Arg]) -> Result<SeccompRule, LockError> {
    let conditions = args.iter().map(condition).collect::<Result<Vec<_>, _>>();
    conditions
        .and_then(SeccompRule::new)
        .map_err(|error| LockError::new("profile", format!("{}: {error}", row.name)))
}

fn condition(arg: &Arg) -> Result<SeccompCondition, seccompiler::BackendError> {
    use SeccompCmpArgLen::{Dword, Qword};
    let (length, comparison, value) = match arg.test {
        Test::Int(value) => (Dword, SeccompCmpOp::Eq, value.into()),
        Test::Long(value) => (Qword, SeccompCmpOp::Eq, value),
        Test::OnlyBits(bits) => (Dword, SeccompCmpOp::MaskedEq((!bits).into()), 0),
        Test::NoneOf(bits) => (Qword, SeccompCmpOp::MaskedEq(bits), 0),
        Test::AtMost(value) => (Qword, SeccompCmpOp::Le, value),
    };
    SeccompCondition::new(arg.index, length, comparison, value)
}

fn program(calls: Calls, otherwise: SeccompAction, listed: SeccompAction) -> Result<BpfProgram, LockError> {
    let arch = TargetArch::try_from(std::env::consts::ARCH).map_err(LockError::at("profile"))?;
    SeccompFilter::new(calls, otherwise, listed, arch)
        .and_then(BpfProgram::try_from)
        .map_err(LockError::at("profile"))
}
