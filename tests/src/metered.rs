//! Metering an interface of the laboratory with the real programs, in this process.

use anyhow::{Context, Result};
use flowml_user::capture::attach::{Attachment, Mode, Wanted, attach};
use flowml_user::capture::interface::Interfaces;
use flowml_user::capture::kernel::KernelTable;

use crate::lab::Interface;

/// Attaches the table's programs to what comes in at an interface, until the answer is dropped.
pub fn attach_ingress(table: &mut KernelTable, interface: &Interface, mode: Mode) -> Result<Attachment> {
    interface.host.enter(|| {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_io().build().context("starting tokio")?;
        let found = runtime.block_on(async { Interfaces::read().await?.named(&interface.name) })?;
        attach(table, found, Wanted::Only(mode), false).context("attaching the programs")
    })?
}
