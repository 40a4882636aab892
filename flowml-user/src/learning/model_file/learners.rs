//! Saves learners in a file: versioned JSON with the feature tables that they were trained on.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::features::Column;
use crate::learning::model_file::file;
use crate::learning::online::feedback_labels::{FeedbackLabel, FeedbackLabels};
use crate::learning::online::fitted::Fitted;
use crate::learning::online::learner::{Learner, Settings, State};

/// The format's name in the file.
const FORMAT: &str = "flowml-model";

/// The version of the file's layout. Other versions are not read.
const VERSION: u32 = 5;

/// The largest file, bytes. A learner needs some hundred thousand.
const LONGEST: usize = 16 << 20;

/// Why a model was not saved or loaded.
#[derive(Debug, thiserror::Error)]
pub enum ModelError {
    /// There is nothing to save yet.
    #[error("the model is still {0}: it can be saved after the warm-up")]
    NotReady(String),
    /// The file could not be read or written.
    #[error("cannot read or write the model file {}", path.display())]
    File {
        /// The file.
        path: PathBuf,
        /// The system's error.
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

/// The start of the file in every version.
#[derive(Serialize, Deserialize)]
struct Header {
    format: String,
    version: u32,
}

/// All learners of a file, not parsed.
#[derive(Deserialize)]
struct Contents {
    learners: BTreeMap<String, Value>,
}

/// A learner without its model: the part that is readable for people.
#[derive(Serialize, Deserialize)]
struct About<S> {
    features_hash: String,
    features: Vec<TrainedOn>,
    settings: S,
    batches: u64,
    /// The operators' feedback labels; missing in older files.
    #[serde(default)]
    feedback_labels: FeedbackLabels,
}

/// A learner in the file.
#[derive(Deserialize)]
struct Saved {
    #[serde(flatten)]
    about: About<Settings>,
    model: Fitted,
}

/// The properties of a column on which a model depends.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
struct TrainedOn {
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

/// A file of learners that is ready to be written. Writing waits for the disk and may be done on another thread.
pub struct Snapshot {
    path: PathBuf,
    text: String,
}

impl Snapshot {
    /// Replaces the file.
    ///
    /// # Errors
    /// If it cannot be written.
    pub fn write(self) -> Result<(), ModelError> {
        file::write_whole(&self.path, &self.text).map_err(|source| ModelError::File { path: self.path, source })
    }
}

/// A file of learners that was read.
pub struct ModelFile {
    path: PathBuf,
    learners: BTreeMap<String, Value>,
}

impl ModelFile {
    /// Writes the learners that have a model, each under its name.
    ///
    /// # Errors
    /// If none has a model, or the file cannot be written.
    pub fn write(path: &Path, learners: &[(&str, &Learner)]) -> Result<(), ModelError> {
        Self::snapshot(path, learners)?.write()
    }

    /// Returns what [`write`](Self::write) would write.
    ///
    /// # Errors
    /// If no learner has a model.
    pub fn snapshot(path: &Path, learners: &[(&str, &Learner)]) -> Result<Snapshot, ModelError> {
        let failed = |source| ModelError::File { path: path.to_owned(), source };
        let ready = learners.iter().filter_map(|(name, learner)| Some((name, learner, learner.fitted()?)));
        let texts = ready
            .map(|(name, learner, fitted)| {
                let features: Vec<TrainedOn> = learner.columns.iter().map(TrainedOn::from).collect();
                let about = About {
                    features_hash: hash(&features),
                    features,
                    settings: &learner.settings,
                    batches: learner.batches,
                    feedback_labels: learner.feedback_labels.clone(),
                };
                member(name, &about, fitted)
            })
            .collect::<serde_json::Result<Vec<_>>>()
            .map_err(|error| failed(error.into()))?;
        if texts.is_empty() {
            let states: Vec<String> =
                learners.iter().map(|(name, learner)| format!("{name}: {}", learner.status())).collect();
            return Err(ModelError::NotReady(states.join(", ")));
        }
        Ok(Snapshot { path: path.to_owned(), text: whole(&texts) })
    }

    /// Writes the file again with an operator's feedback label on rows of these columns, for the learner of this name.
    ///
    /// # Errors
    /// If the file has no such learner, it was trained on other columns, or the file cannot be written.
    pub fn label(mut self, name: &str, columns: &[Column], label: FeedbackLabel) -> Result<(), ModelError> {
        let path = self.path.clone();
        let not_a_model = |reason: String| ModelError::NotAModel { path: path.clone(), reason };
        let value = self.learners.get_mut(name).ok_or_else(|| not_a_model(format!("it has no learner of {name}")))?;
        let mut about = about(&path, name, value, columns)?;
        about.feedback_labels.add(label);
        value["feedback_labels"] =
            serde_json::to_value(&about.feedback_labels).map_err(|error| not_a_model(error.to_string()))?;
        let texts = self.learners.iter().map(|(name, value)| {
            let about = About::<Value>::deserialize(value)?;
            member(name, &about, &value["model"])
        });
        let texts = texts.collect::<serde_json::Result<Vec<_>>>().map_err(|error| not_a_model(error.to_string()))?;
        Snapshot { path, text: whole(&texts) }.write()
    }

    /// Reads a file.
    ///
    /// # Errors
    /// If it cannot be read, or is no file of learners.
    pub fn read(path: &Path) -> Result<Self, ModelError> {
        let text = file::read(path).map_err(|source| ModelError::File { path: path.to_owned(), source })?;
        Self::parse(path, &text)
    }

    /// Parses the content of a file. `path` is for error messages.
    ///
    /// # Errors
    /// If it is no file of learners.
    pub fn parse(path: &Path, text: &[u8]) -> Result<Self, ModelError> {
        let not_a_model = |reason: String| ModelError::NotAModel { path: path.to_owned(), reason };
        let header: Header = serde_json::from_slice(text).map_err(|error| not_a_model(error.to_string()))?;
        if header.format != FORMAT || header.version != VERSION {
            return Err(not_a_model(format!("its format is {:?}, version {}", header.format, header.version)));
        }
        if text.len() > LONGEST {
            return Err(not_a_model(format!("it has {} bytes; expected at most {LONGEST}", text.len())));
        }
        let contents: Contents = serde_json::from_slice(text).map_err(|error| not_a_model(error.to_string()))?;
        Ok(Self { path: path.to_owned(), learners: contents.learners })
    }

    /// Checks that the file has at least one learner, and only learners of these names. Some may not have had a model
    /// when the file was written.
    ///
    /// # Errors
    /// If it has other learners or none.
    pub fn check(&self, names: &[&str]) -> Result<(), ModelError> {
        let other = self.learners.keys().find(|name| !names.contains(&name.as_str()));
        let found = match other {
            Some(other) => format!("a learner '{other}'"),
            None if self.learners.is_empty() => "no learner".to_owned(),
            None => return Ok(()),
        };
        let expected: Vec<String> = names.iter().map(|name| format!("'{name}'")).collect();
        let reason = format!("it has {found}; expected the learners {}", expected.join(" and "));
        Err(ModelError::NotAModel { path: self.path.clone(), reason })
    }

    /// The learner of this name for rows of these columns; `None` if the file has none.
    ///
    /// # Errors
    /// If it was trained on other columns, or its parts are inconsistent.
    pub fn learner(&self, name: &str, columns: Vec<Column>) -> Result<Option<Learner>, ModelError> {
        self.learners.get(name).map(|value| learner(&self.path, name, value, columns)).transpose()
    }
}

/// The learner of a file's value under this name.
pub(crate) fn learner(path: &Path, name: &str, value: &Value, columns: Vec<Column>) -> Result<Learner, ModelError> {
    let not_a_model =
        |reason: String| ModelError::NotAModel { path: path.to_owned(), reason: format!("{name}: {reason}") };
    about(path, name, value, &columns)?;
    let Saved { about, model } = Saved::deserialize(value).map_err(|error| not_a_model(error.to_string()))?;
    if let Some(reason) = model.inconsistency(&columns) {
        return Err(not_a_model(reason));
    }
    if !about.feedback_labels.fit(&columns) {
        return Err(not_a_model(format!("its feedback labels are not of rows of {} columns", columns.len())));
    }
    let state = State::ready(model, &about.feedback_labels);
    let About { settings, batches, feedback_labels, .. } = about;
    let mut learner = Learner::new(columns, settings);
    (learner.batches, learner.state, learner.feedback_labels) = (batches, state, feedback_labels);
    Ok(learner)
}

/// The readable part of a learner that was trained on these columns. The rest is only parsed later, because its shape
/// depends on the columns.
fn about(path: &Path, name: &str, value: &Value, columns: &[Column]) -> Result<About<Value>, ModelError> {
    let not_a_model =
        |reason: String| ModelError::NotAModel { path: path.to_owned(), reason: format!("{name}: {reason}") };
    let about = About::<Value>::deserialize(value).map_err(|error| not_a_model(error.to_string()))?;
    if let Some(difference) = first_difference(&about.features, columns) {
        return Err(ModelError::OtherFeatures { path: path.to_owned(), difference });
    }
    if about.features_hash != hash(&about.features) {
        return Err(not_a_model("the hash of its features is wrong".to_owned()));
    }
    Ok(about)
}

/// A learner as text of the file.
fn member<S: Serialize>(name: &str, about: &About<S>, model: &impl Serialize) -> serde_json::Result<String> {
    Ok(format!("\"{name}\": {}", file::lines_and(about, "model", model)?))
}

/// The text of a file with these learners.
fn whole(members: &[String]) -> String {
    let header = format!("\"format\": \"{FORMAT}\",\n\"version\": {VERSION}");
    format!("{{\n{header},\n\"learners\": {{\n{}\n}}\n}}\n", members.join(",\n"))
}

/// The first column that differs from those that the model was trained on.
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

/// A hash that distinguishes tables of columns by the properties on which a model depends.
#[must_use]
pub fn fingerprint(columns: &[Column]) -> String {
    hash(&columns.iter().map(TrainedOn::from).collect::<Vec<_>>())
}

/// A hash of names, units and kinds.
fn hash(features: &[TrainedOn]) -> String {
    file::hash(features.iter().flat_map(|f| [f.name.as_str(), &f.unit, &f.learn]))
}
