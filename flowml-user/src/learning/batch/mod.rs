//! The learner of tables: it trains once on a complete table.

mod labelled;
mod model;
mod plan;
#[cfg(test)]
mod tests;
mod train;

pub use self::labelled::Labelled;
pub use self::model::{Judgement, Summary, TableModel};
pub use self::plan::{ATTACK, Plan, Task};
