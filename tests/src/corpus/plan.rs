//! The plan of a corpus.

use std::path::PathBuf;
use std::time::Duration;

use anyhow::{Result, bail};

use super::attacks::{ATTACKS, Attack};
use super::part::Equipment;

/// The plan of a corpus.
#[derive(Debug, Clone)]
pub struct Plan {
    /// The folder for the parts' folders.
    pub folder: PathBuf,
    /// Time for which normal traffic is captured alone, in each part. It is longer if not every activity has been done
    /// once by then.
    pub normal: Duration,
    /// Seed of all random choices. The times of packets also depend on the machine.
    pub seed: u64,
    /// Makes only what needs no other tools.
    pub equipment: Equipment,
    /// Makes only attacks of these classes, unless the list is empty.
    pub classes: Vec<String>,
    /// Whether agents meter the server and a client meanwhile.
    pub live: bool,
}

impl Plan {
    pub(super) fn attacks(&self) -> Result<Vec<&'static Attack>> {
        let known = |class: &String| ATTACKS.iter().any(|attack| attack.class == class);
        if let Some(class) = self.classes.iter().find(|class| !known(class)) {
            let classes = ATTACKS.iter().map(|attack| attack.class).collect::<Vec<_>>();
            bail!("there is no class {class}; expected one of {}", classes.join(", "));
        }
        let wanted = |attack: &&Attack| {
            let named = self.classes.is_empty() || self.classes.iter().any(|class| attack.class == class);
            named && attack.equipment <= self.equipment
        };
        Ok(ATTACKS.iter().filter(wanted).collect())
    }
}
