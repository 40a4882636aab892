//! The kernel's verifier accepts every program, at a cost within its budget.

use anyhow::{Context, Result, ensure};
use flowml_common::content::PayloadLimit;
use flowml_tests::program::{Program, kernel_table, require_kernel};

/// Largest number of instructions that the verifier may process for a program. The verifier gives up at 1,000,000; the
/// budget is far below, because older kernels prune less and other compilers make other code. Raise it only for a
/// stated gain.
const BUDGET: u32 = 100_000;

#[test]
fn programs_load_within_the_budget() -> Result<()> {
    let Some(_lab) = require_kernel() else { return Ok(()) };
    for payload in [None, PayloadLimit::new(PayloadLimit::MAX)] {
        let mut table = kernel_table(None, payload)?;
        for program in Program::ALL {
            program.load(&mut table)?;
            let name = program.name();
            let loaded = table.ebpf().program(name).with_context(|| format!("no program {name}"))?;
            let cost = loaded.info()?.verified_instruction_count().with_context(|| format!("no count for {name}"))?;
            println!("{name}, payload {payload:?}: {cost} of {BUDGET} instructions verified");
            ensure!(cost <= BUDGET, "{name}: the verifier looked at {cost} instructions, and the budget is {BUDGET}");
        }
    }
    Ok(())
}
