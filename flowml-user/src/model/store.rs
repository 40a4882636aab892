//! A learner as a file: versioned JSON with the feature table that it was trained on.

use std::fs;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use super::fitted::Fitted;
use super::{Learner, Settings, State};
use crate::features::{Column, Learn};

/// What the file says it is.
const FORMAT: &str = "flowml-model";

/// The version of the file's layout; another one is not read.
const VERSION: u32 = 2;

/// Why a model was not saved or loaded.
#[derive(Debug, thiserror::Error)]
pub enum ModelError {
    /// There is nothing to save yet.
    #[error("the model is still {0}: there is nothing to save before the warm-up is over")]
    NotReady(String),
    /// The file could not be read or written.
    #[error("cannot read or write the model file {}", path.display())]
    File {
        /// The file.
        path: PathBuf,
        /// What the system said.
        source: std::io::Error,
    },
    /// The file is not JSON of a model.
    #[error("model file {} is not a flowml model of version {VERSION}: {reason}", path.display())]
    NotAModel {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        reason: String,
    },
    /// The model was trained on other features.
    #[error("model file {} was trained on other features: {difference}", path.display())]
    OtherFeatures {
        /// The file.
        path: PathBuf,
        /// The first feature that differs.
        difference: String,
    },
}

/// The file's contents, the readable part first.
#[derive(Serialize, Deserialize)]
struct ModelFile<F, S> {
    format: String,
    version: u32,
    features_hash: String,
    features: Vec<TrainedOn>,
    settings: S,
    batches: u64,
    model: F,
}

/// The header alone, which every version has.
#[derive(Deserialize)]
struct Header {
    format: String,
    version: u32,
}

/// What the model remembers of a column: what it would compute wrongly if it changed.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
struct TrainedOn {
    name: String,
    unit: String,
    learn: String,
}

impl From<&Column> for TrainedOn {
    fn from(column: &Column) -> Self {
        let learn = match column.learn {
            Learn::Never => "never",
            Learn::Amount => "amount",
            Learn::Share => "share",
            Learn::Category => "category",
        };
        Self { name: column.name.to_owned(), unit: column.unit.to_owned(), learn: learn.to_owned() }
    }
}

/// Writes the learner to `path`, by way of a neighbour that is then renamed: a reader sees the old file or the new one.
pub(super) fn save(learner: &Learner, path: &Path) -> Result<(), ModelError> {
    let State::Ready(fitted) = &learner.state else {
        return Err(ModelError::NotReady(learner.status().to_string()));
    };
    let features: Vec<TrainedOn> = learner.columns.iter().map(TrainedOn::from).collect();
    let file = ModelFile {
        format: FORMAT.to_owned(),
        version: VERSION,
        features_hash: hash(&features),
        features,
        settings: &learner.settings,
        batches: learner.batches,
        model: fitted.as_ref(),
    };
    let failed = |source| ModelError::File { path: path.to_owned(), source };
    let json = serde_json::to_vec_pretty(&file).map_err(|error| failed(error.into()))?;
    let mut partial = path.as_os_str().to_owned();
    partial.push(".partial");
    fs::write(&partial, json).map_err(failed)?;
    fs::rename(&partial, path).map_err(failed)
}

/// Reads a learner for `columns` from `path`.
pub(super) fn load(path: &Path, columns: Vec<Column>) -> Result<Learner, ModelError> {
    let not_a_model = |reason: String| ModelError::NotAModel { path: path.to_owned(), reason };
    let json = fs::read(path).map_err(|source| ModelError::File { path: path.to_owned(), source })?;
    let header: Header = serde_json::from_slice(&json).map_err(|error| not_a_model(error.to_string()))?;
    if header.format != FORMAT || header.version != VERSION {
        return Err(not_a_model(format!("it says {:?}, version {}", header.format, header.version)));
    }
    let file: ModelFile<Fitted, Settings> =
        serde_json::from_slice(&json).map_err(|error| not_a_model(error.to_string()))?;
    if let Some(difference) = first_difference(&file.features, &columns) {
        return Err(ModelError::OtherFeatures { path: path.to_owned(), difference });
    }
    if file.features_hash != hash(&file.features) {
        return Err(not_a_model("its features do not have the hash that it gives for them".to_owned()));
    }
    if let Some(reason) = file.model.inconsistency(&columns) {
        return Err(not_a_model(reason));
    }
    Ok(Learner { columns, settings: file.settings, batches: file.batches, state: State::Ready(Box::new(file.model)) })
}

/// Says which column is the first that is not what the model was trained on.
fn first_difference(trained: &[TrainedOn], columns: &[Column]) -> Option<String> {
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

/// FNV-1a (64 bit) over names, units and kinds, each ended by a zero byte: tells tables apart at a glance, and is no
/// protection against someone who edits the file.
fn hash(features: &[TrainedOn]) -> String {
    let texts = features.iter().flat_map(|f| [&f.name, &f.unit, &f.learn]);
    let bytes = texts.flat_map(|text| text.bytes().chain([0]));
    let fnv = bytes
        .fold(0xcbf2_9ce4_8422_2325_u64, |hash, byte| (hash ^ u64::from(byte)).wrapping_mul(0x0000_0100_0000_01b3));
    format!("{fnv:016x}")
}
