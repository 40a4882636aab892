//! The kernel's verifier accepts every program, at a cost within its budget.

use anyhow::{Context, Result, ensure};
use flowml_common::content::PayloadLimit;
use flowml_common::tunnel::PortList;
use flowml_tests::program::{Program, kernel_table_filtered, require_kernel};
use flowml_user::capture::filter::PacketFilter;
use flowml_user::process::kernel::{release, version};

/// Largest number of instructions that the verifier may process for a program. The verifier gives up at 1,000,000; the
/// budget is far below, because older kernels prune less and other compilers make other code. Raise it only for a
/// stated gain.
const BUDGET: u32 = 100_000;

/// The same for older kernels: Linux 6.1 processes two to three times as many in the tc programs (docs/OPERATIONS.md).
const BUDGET_OF_OLDER: u32 = 250_000;

/// The same for the programs that look into tunnels: they parse up to three levels.
const BUDGET_INSIDE: u32 = 150_000;

/// The same for older kernels, by the ratio of the other programs. It is not measured.
const BUDGET_INSIDE_OF_OLDER: u32 = 400_000;

/// The oldest kernel that keeps [`BUDGET`] by measurement.
const SINCE: (u32, u32) = (6, 12);

#[test]
fn programs_load_within_the_budget() -> Result<()> {
    let Some(_lab) = require_kernel() else { return Ok(()) };
    let is_older = version(&release()).is_some_and(|version| version < SINCE);
    let [outside, inside] = if is_older { [BUDGET_OF_OLDER, BUDGET_INSIDE_OF_OLDER] } else { [BUDGET, BUDGET_INSIDE] };
    let tables = [(None, outside), (Some(PortList::default()), inside)];
    let filter: PacketFilter = "tcp port 443 and not net 10.0.0.0/8".parse()?;
    let options = [None, PayloadLimit::new(PayloadLimit::MAX)].into_iter().flat_map(|payload| {
        // The contents of a filter do not matter: the verifier does not follow them.
        [(payload, None), (payload, Some(filter.filter()))]
    });
    for ((tunnels, budget), (payload, filter)) in
        tables.into_iter().flat_map(|table| options.clone().map(move |options| (table, options)))
    {
        let mut table = kernel_table_filtered(None, payload, tunnels, filter)?;
        for program in Program::ALL {
            program.load(&mut table)?;
            let name = if tunnels.is_some() { program.inner_name() } else { program.name() };
            let loaded = table.ebpf().program(name).with_context(|| format!("no program {name}"))?;
            let cost = loaded.info()?.verified_instruction_count().with_context(|| format!("no count for {name}"))?;
            let filtered = if filter.is_some() { "with a filter" } else { "without a filter" };
            println!("{name}, payload {payload:?}, {filtered}: {cost} of {budget} instructions verified");
            ensure!(cost <= budget, "{name}: the verifier looked at {cost} instructions, and the budget is {budget}");
        }
    }
    Ok(())
}
