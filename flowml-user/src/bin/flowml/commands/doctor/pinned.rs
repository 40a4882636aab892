//! Checks the folder of `--pin`: whether it is empty, has a table to continue with, or cannot be used.

use std::path::{Path, PathBuf};

use flowml_user::capture::CaptureError;
use flowml_user::capture::pins::Pins;
use flowml_user::process::words::counted;

use super::{Finding, Severity};

/// The state of the folder.
#[derive(Clone, Debug)]
pub(super) struct Facts {
    folder: PathBuf,
    table: Result<Option<PinnedTable>, String>,
}

/// The pinned table.
#[derive(Clone, Debug)]
struct PinnedTable {
    /// Packets that agents have read from it.
    taken: u64,
    /// The indexes of the attached interfaces, and their modes.
    modes: Vec<(u32, String)>,
}

impl Facts {
    pub(super) fn read(folder: &Path) -> Self {
        Self { folder: folder.to_owned(), table: look(folder).map_err(|error| error.to_string()) }
    }

    pub(super) fn finding(&self) -> Finding {
        let folder = self.folder.display();
        match &self.table {
            Err(refused) => Finding::new("pin", Severity::Problem, refused.clone()),
            Ok(None) => {
                Finding::new("pin", Severity::Ok, format!("run pins a new flow table in {folder}")).value(false)
            }
            Ok(Some(table)) => {
                let taken = counted(table.taken, "packet");
                let message =
                    format!("run continues with the flow table in {folder}; agents have read {taken} from it");
                Finding::new("pin", Severity::Ok, message).value(true)
            }
        }
    }

    /// The mode in which the interface is already metered.
    pub(super) fn mode_of(&self, index: u32) -> Option<String> {
        let table = self.table.as_ref().ok()?.as_ref()?;
        table.modes.iter().find(|(of, _)| *of == index).map(|(_, mode)| mode.clone())
    }
}

fn look(folder: &Path) -> Result<Option<PinnedTable>, CaptureError> {
    let Some(pins) = Pins::look(folder)? else { return Ok(None) };
    let Some(account) = pins.account()? else { return Ok(None) };
    Ok(Some(PinnedTable { taken: account.received.packets, modes: pins.modes()? }))
}
