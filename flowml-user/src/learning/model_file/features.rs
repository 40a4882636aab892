//! The columns that a model was trained on, and how they differ from those of this version.

use serde::{Deserialize, Serialize};

use crate::features::Column;
use crate::learning::hash::hash;

/// The properties of a column on which a model depends.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(super) struct TrainedOn {
    name: String,
    unit: String,
    learn: String,
}

impl From<&Column> for TrainedOn {
    fn from(column: &Column) -> Self {
        let Column { name, unit, learn, .. } = column;
        Self { name: (*name).to_owned(), unit: (*unit).to_owned(), learn: learn.name().to_owned() }
    }
}

/// The first column that differs from those that the model was trained on.
pub(super) fn first_difference(trained: &[TrainedOn], columns: &[Column]) -> Option<String> {
    let here: Vec<TrainedOn> = columns.iter().map(TrainedOn::from).collect();
    let both = trained.len().min(here.len());
    if let Some(place) = (0..both).find(|&place| trained[place] != here[place]) {
        return Some(format!(
            "feature {} is {} in the model and {} here",
            place + 1,
            describe(&trained[place]),
            describe(&here[place])
        ));
    }
    let missing = |extra: &TrainedOn| format!("feature {} ({})", both + 1, describe(extra));
    match (trained.get(both), here.get(both)) {
        (Some(extra), _) => Some(format!("{} of the model does not exist here", missing(extra))),
        (None, Some(extra)) => Some(format!("{} is not in the model", missing(extra))),
        (None, None) => None,
    }
}

fn describe(feature: &TrainedOn) -> String {
    format!("{:?} in {:?}, learnt as {}", feature.name, feature.unit, feature.learn)
}

/// A hash that distinguishes tables of columns by the properties on which a model depends.
#[must_use]
pub(crate) fn fingerprint(columns: &[Column]) -> String {
    features_hash(&columns.iter().map(TrainedOn::from).collect::<Vec<_>>())
}

/// A hash of names, units and encodings.
pub(super) fn features_hash(features: &[TrainedOn]) -> String {
    hash(features.iter().flat_map(|f| [f.name.as_str(), &f.unit, &f.learn]))
}
