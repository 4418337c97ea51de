//! The verdict of a compiled filter on a call, without making it: for tests that try every row both ways.
//!
//! Runs the few instructions of classic BPF that seccompiler emits, on the data that the kernel would show the
//! filter (seccomp(2), struct seccomp_data).

mod sys;

use seccompiler::sock_filter;
use sockd_lockdown::{LockError, Program, Row, Test, When, compile_filter, libc};

/// The verdict on a call.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verdict {
    /// It is carried out.
    Allowed,
    /// It is not carried out and gives this errno.
    Answered(u32),
    /// The process ends.
    Killed,
}

/// A call as a filter sees it.
#[derive(Debug, Clone, Copy)]
pub struct Call {
    /// Its number.
    pub number: i64,
    /// Its arguments.
    pub args: [u64; 6],
    /// Whether it is made by the other calling convention of the machine (32-bit x86, for instance).
    pub foreign: bool,
}

/// The verdict of the whole stack: the strictest of its programs' (seccomp(2)).
pub fn verdict(program: &Program, call: &Call) -> Option<Verdict> {
    let verdicts = program.stack().iter().map(|program| run(program, call)).collect::<Option<Vec<_>>>()?;
    let answered = verdicts.iter().find(|verdict| matches!(verdict, Verdict::Answered(_)));
    Some(match verdicts.contains(&Verdict::Killed) {
        true => Verdict::Killed,
        false => answered.copied().unwrap_or(Verdict::Allowed),
    })
}

/// Finds faults of a profile: rows that do not allow what they say or allow something beside it. Each row is tried with
/// arguments that it allows, and with one condition after the other broken; both in this module's reading of the filter
/// and by the running kernel, in a child that has installed it.
///
/// Arguments without a condition are all ones, which every call refuses that would do anything: no such descriptor,
/// address, flag or length.
pub fn faults(rows: &[Row]) -> Result<Vec<String>, LockError> {
    let program = compile_filter(rows)?;
    let mut faults = Vec::new();
    for row in rows {
        let expected = match row.when {
            When::Answer(errno) => Verdict::Answered(errno.unsigned_abs()),
            _ => Verdict::Allowed,
        };
        let (good, bad) = samples(row);
        let tried = bad.into_iter().map(|call| (call, Verdict::Killed)).chain([(good, expected)]);
        for (call, expected) in tried {
            let (read, seen) = (verdict(&program, &call), seen(&program, &call));
            if read != Some(expected) || !agrees(seen, expected) {
                faults.push(format!("{} {call:x?}: {read:?}, the kernel: {seen:?}", row.name));
            }
        }
        if verdict(&program, &Call { foreign: true, ..good }) != Some(Verdict::Killed) {
            faults.push(format!("{}: allowed in the other convention", row.name));
        }
    }
    Ok(faults)
}

/// How a child ended that made this call: by SIGSYS, or with an errno or none.
fn seen(program: &Program, call: &Call) -> Option<Verdict> {
    let status = sys::call_in_a_child(program, call.number, call.args).ok()?;
    match (libc::WIFEXITED(status), libc::WEXITSTATUS(status)) {
        (true, 0) => Some(Verdict::Allowed),
        (true, errno) => Some(Verdict::Answered(errno.unsigned_abs())),
        (false, _) => (libc::WTERMSIG(status) == libc::SIGSYS).then_some(Verdict::Killed),
    }
}

/// An allowed call may well fail.
fn agrees(seen: Option<Verdict>, expected: Verdict) -> bool {
    match expected {
        Verdict::Allowed => matches!(seen, Some(Verdict::Allowed | Verdict::Answered(_))),
        expected => seen == Some(expected),
    }
}

/// Calls that this row is to allow, and calls that break exactly one of its conditions.
pub fn samples(row: &Row) -> (Call, Vec<Call>) {
    let call = |args| Call { number: row.call, args, foreign: false };
    let When::Args(conditions) = row.when else { return (call([u64::MAX; 6]), Vec::new()) };
    let mut good = [u64::MAX; 6];
    for condition in conditions {
        if let Some(arg) = good.get_mut(usize::from(condition.index)) {
            *arg = within(condition.test);
        }
    }
    let bad = conditions.iter().flat_map(|condition| {
        beyond(condition.test).into_iter().filter_map(move |value| {
            let mut args = good;
            *args.get_mut(usize::from(condition.index))? = value;
            Some(call(args))
        })
    });
    (call(good), bad.collect())
}

/// The half of a register that the kernel ignores for an int may hold anything.
const UPPER: u64 = 0xdead_beef_0000_0000;

fn within(test: Test) -> u64 {
    match test {
        Test::Int(value) => UPPER | u64::from(value),
        Test::Long(value) | Test::AtMost(value) => value,
        Test::OnlyBits(bits) => UPPER | u64::from(bits),
        Test::NoneOf(bits) => !bits,
    }
}

fn beyond(test: Test) -> Vec<u64> {
    let each_bit = |bits: u64| (0..u64::BITS).map(|n| 1 << n).filter(move |bit| bits & bit != 0);
    match test {
        Test::Int(value) => vec![u64::from(value ^ 1), u64::from(!value)],
        Test::Long(value) => vec![value ^ 1, value ^ (1 << 63)],
        Test::AtMost(value) => vec![value.saturating_add(1), u64::MAX],
        Test::OnlyBits(bits) => each_bit((!bits).into()).collect(),
        Test::NoneOf(bits) => each_bit(bits).collect(),
    }
}

/// The `arch` field of the data: AUDIT_ARCH_X86_64, AUDIT_ARCH_AARCH64 or AUDIT_ARCH_RISCV64.
const ARCH: u32 = match std::env::consts::ARCH.as_bytes() {
    b"x86_64" => 0xc000_003e,
    b"aarch64" => 0xc000_00b7,
    _ => 0xc000_00f3,
};

fn run(program: &[sock_filter], call: &Call) -> Option<Verdict> {
    let data = data(call);
    let (mut at, mut accumulator) = (0usize, 0u32);
    // Jumps go forward only, so a program ends after at most as many steps as it has instructions.
    for _ in 0..program.len() {
        let instruction = program.get(at)?;
        at = at.checked_add(1)?;
        let jump = |taken: bool| usize::from(if taken { instruction.jt } else { instruction.jf });
        let skipped = match u32::from(instruction.code) {
            // BPF_LD + BPF_W + BPF_ABS
            0x20 => {
                let offset = usize::try_from(instruction.k).ok()?;
                let word = data.get(offset..offset.checked_add(4)?)?;
                accumulator = u32::from_ne_bytes(word.try_into().ok()?);
                0
            }
            // BPF_ALU + BPF_AND + BPF_K
            0x54 => {
                accumulator &= instruction.k;
                0
            }
            // BPF_JMP with BPF_JA, BPF_JEQ, BPF_JGT, BPF_JGE
            0x05 => usize::try_from(instruction.k).ok()?,
            0x15 => jump(accumulator == instruction.k),
            0x25 => jump(accumulator > instruction.k),
            0x35 => jump(accumulator >= instruction.k),
            // BPF_RET + BPF_K
            0x06 => return Some(returned(instruction.k)),
            _ => return None,
        };
        at = at.checked_add(skipped)?;
    }
    None
}

/// The meaning of a filter's answer.
fn returned(answer: u32) -> Verdict {
    match answer & libc::SECCOMP_RET_ACTION_FULL {
        libc::SECCOMP_RET_ALLOW => Verdict::Allowed,
        libc::SECCOMP_RET_ERRNO => Verdict::Answered(answer & libc::SECCOMP_RET_DATA),
        _ => Verdict::Killed,
    }
}

/// struct seccomp_data: number, arch, instruction pointer, arguments.
fn data(call: &Call) -> Vec<u8> {
    let arch = if call.foreign { ARCH ^ (1 << 31) } else { ARCH };
    let number = i32::try_from(call.number).unwrap_or(-1);
    let mut data = [number.to_ne_bytes(), arch.to_ne_bytes(), [0; 4], [0; 4]].concat();
    data.extend(call.args.iter().flat_map(|arg| arg.to_ne_bytes()));
    data
}
