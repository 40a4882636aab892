//! The filter of system calls (seccomp(2)), built from the table of permitted calls.

use std::collections::BTreeMap;
use std::ffi::c_long;
use std::{env, process};

use seccompiler::{
    BackendError, BpfProgram, SeccompAction, SeccompCmpArgLen, SeccompCmpOp, SeccompCondition, SeccompFilter,
    SeccompRule, apply_filter_all_threads,
};

use super::calls::{Argument, GROUPS, LACKING, LIMITED, Test};

/// The input of seccompiler: for each permitted call the permitted combinations of arguments. An empty list permits
/// all.
type Rules = BTreeMap<c_long, Vec<SeccompRule>>;

/// Installs the filter in all threads of this process. A call that is not in the table fails with EPERM.
///
/// # Errors
/// If the kernel has no filters, or refuses these.
pub(super) fn install() -> Result<(), seccompiler::Error> {
    let lacking = LACKING.iter().map(|call| (*call, Vec::new())).collect();
    let programs = [
        compile(lacking, SeccompAction::Allow, SeccompAction::Errno(libc::ENOSYS as u32))?,
        compile(allowed()?, SeccompAction::Errno(libc::EPERM as u32), SeccompAction::Allow)?,
    ];
    // With several filters the most restrictive result applies.
    programs.iter().try_for_each(|program| apply_filter_all_threads(program))
}

fn compile(rules: Rules, otherwise: SeccompAction, listed: SeccompAction) -> Result<BpfProgram, BackendError> {
    SeccompFilter::new(rules, otherwise, listed, env::consts::ARCH.try_into()?)?.try_into()
}

/// The table, and the calls whose result the other filter determines.
fn allowed() -> Result<Rules, BackendError> {
    let calls = GROUPS.iter().flat_map(|group| group.calls).chain(LACKING);
    let mut rules: Rules = calls.map(|call| (*call, Vec::new())).collect();
    for limited in LIMITED {
        let ways = limited.ways.iter().map(|tests| {
            SeccompRule::new(
                tests.iter().map(|(argument, test)| condition(*argument, *test)).collect::<Result<_, _>>()?,
            )
        });
        rules.insert(limited.call, ways.collect::<Result<_, _>>()?);
    }
    Ok(rules)
}

fn condition(argument: Argument, test: Test) -> Result<SeccompCondition, BackendError> {
    let (operation, value) = match test {
        Test::Is(value) => (SeccompCmpOp::Eq, value),
        Test::Bits { mask, set } => (SeccompCmpOp::MaskedEq(mask.into()), set),
        Test::OwnProcess => (SeccompCmpOp::Eq, process::id()),
    };
    SeccompCondition::new(argument, SeccompCmpArgLen::Dword, operation, value.into())
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;

    #[test]
    fn each_call_is_in_the_table_once_and_has_a_reason() {
        let mut seen = HashSet::new();
        let limited = LIMITED.iter().map(|limited| (limited.reason, limited.call));
        let grouped = GROUPS.iter().flat_map(|group| group.calls.iter().map(|call| (group.reason, *call)));
        for (reason, call) in grouped.chain(limited) {
            assert!(seen.insert(call) && !reason.is_empty(), "call {call} of '{reason}'");
        }
        assert!(LACKING.iter().all(|call| !seen.contains(call)));
    }

    #[test]
    fn the_table_compiles_to_a_program() {
        let program = compile(allowed().expect("rules"), SeccompAction::Errno(1), SeccompAction::Allow);
        // BPF_MAXINSNS of linux/bpf_common.h.
        assert!((100..4096).contains(&program.expect("a program").len()));
    }
}
