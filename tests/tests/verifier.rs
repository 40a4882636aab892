//! The kernel's verifier accepts every program, at a cost within its budget.

use anyhow::{Context, Result, ensure};
use flowml_tests::program::{Program, kernel_table, require_kernel};

/// Instructions that the verifier may look at in a program: far below the 1,000,000 at which it gives up, as older
/// kernels prune less and another compiler makes other code. Raise it knowingly, and only for what it buys.
const fn budget(program: Program) -> u32 {
    match program {
        Program::XdpFrags | Program::Xdp => 200_000,
        // A tag beside the frame and segments are ways of their own.
        Program::Ingress | Program::Egress => 250_000,
    }
}

#[test]
fn programs_load_within_the_budget() -> Result<()> {
    let Some(_lab) = require_kernel() else { return Ok(()) };
    let mut table = kernel_table(None)?;
    for program in Program::ALL {
        program.load(&mut table)?;
        let (name, budget) = (program.name(), budget(program));
        let loaded = table.ebpf().program(name).with_context(|| format!("no program {name}"))?;
        let cost = loaded.info()?.verified_instruction_count().with_context(|| format!("no count for {name}"))?;
        println!("{name}: {cost} of {budget} instructions verified");
        ensure!(cost <= budget, "{name}: the verifier looked at {cost} instructions, and the budget is {budget}");
    }
    Ok(())
}
