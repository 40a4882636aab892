//! Model files: JSON that starts with its format, version and kind.
//!
//! A model of traffic has the learners of flows and of host windows ([`TrafficModel`]). A model of a table has one
//! detector or classifier ([`TableModel`](super::batch::TableModel)). Each part checks its values when it is read.
//!
//! ```
//! use std::path::Path;
//!
//! use flowml_user::learning::model_file::TrafficModel;
//!
//! let older = br#"{"format": "flowml-model", "version": 5, "learners": {}}"#;
//! let error = TrafficModel::parse(Path::new("older.json"), older).err().expect("another version");
//! assert!(error.to_string().ends_with("train the model again"));
//! ```

mod error;
mod features;
mod file;
mod fleet;
mod format;
mod kind;
#[cfg(test)]
mod mutations;
mod table;
mod traffic;

pub use self::error::ModelError;
#[cfg(feature = "live")]
pub(crate) use self::features::fingerprint;
pub use self::fleet::FleetOrigin;
pub use self::kind::ModelKind;
pub(crate) use self::traffic::Snapshot;
pub use self::traffic::TrafficModel;
