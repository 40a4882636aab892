//! The learner of tables: it trains once on a complete table.

mod model;

pub use self::model::{ATTACK, Judgement, Labelled, Plan, Summary, TableModel, TableModelError, Task};
