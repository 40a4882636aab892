//! Writes and reads the file of a model of traffic: its learners, with the features that they were trained on.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::error::ModelError;
use super::features::{TrainedOn, features_hash, first_difference};
use super::file;
use super::fleet::{FleetMember, FleetOrigin};
use super::format::Signed;
use super::kind::{FLEET_VERSION, ModelKind};
use crate::features::Column;
use crate::learning::online::feedback_labels::{FeedbackLabel, FeedbackLabels};
use crate::learning::online::fitted::Fitted;
use crate::learning::online::learner::Learner;
use crate::learning::online::settings::Settings;
use crate::learning::statistics::{ModelHash, ModelIdentity};

/// The largest file, bytes. A learner needs some hundred thousand.
const LONGEST: usize = 16 << 20;

/// All learners of a file, not parsed: a learner is parsed when it is used.
#[derive(Deserialize)]
struct Contents {
    version: u32,
    fleet: Option<FleetOrigin>,
    learners: BTreeMap<String, Value>,
}

/// A learner without its model: the human-readable part.
#[derive(Clone, Serialize, Deserialize)]
struct About {
    features_hash: String,
    features: Vec<TrainedOn>,
    settings: Settings,
    batches: u64,
    /// The operators' feedback labels.
    feedback_labels: FeedbackLabels,
    /// The model of a fleet whose clusters it has, if these stay as they are.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    fixed: Option<ModelIdentity>,
}

/// A learner as it is read, whose parts may not fit each other.
#[derive(Deserialize)]
struct Parts {
    #[serde(flatten)]
    about: About,
    model: Fitted,
}

/// A learner of a file.
#[derive(Deserialize)]
#[serde(try_from = "Parts")]
pub(super) struct SavedLearner {
    about: About,
    model: Fitted,
}

impl TryFrom<Parts> for SavedLearner {
    type Error = String;

    /// The learner, if its parts are consistent.
    fn try_from(Parts { about, model }: Parts) -> Result<Self, String> {
        if about.features_hash != features_hash(&about.features) {
            return Err("the hash of its features is wrong".to_owned());
        }
        if !about.feedback_labels.fit(about.features.len()) {
            return Err(format!("its feedback labels are not of rows of {} columns", about.features.len()));
        }
        Ok(Self { about, model })
    }
}

impl SavedLearner {
    /// The learner of a file's value under this name, for rows of these columns.
    pub(super) fn parse(path: &Path, name: &str, value: &Value, columns: &[Column]) -> Result<Self, ModelError> {
        let not_a_model =
            |reason: String| ModelError::NotAModel { path: path.to_owned(), reason: format!("{name}: {reason}") };
        let saved = Self::deserialize(value).map_err(|error| not_a_model(error.to_string()))?;
        if let Some(difference) = first_difference(&saved.about.features, columns) {
            return Err(ModelError::OtherFeatures { path: path.to_owned(), difference });
        }
        saved.model.inconsistency(columns).map_or(Ok(saved), |reason| Err(not_a_model(reason)))
    }

    /// The learner, which continues with rows of these columns.
    pub(super) fn into_learner(self, columns: Vec<Column>) -> Learner {
        let About { settings, batches, feedback_labels, fixed, .. } = self.about;
        let mut learner = Learner::of_model(columns, settings, batches, feedback_labels, self.model);
        if let Some(model) = fixed {
            learner.fix(model);
        }
        learner
    }

    /// The learner as text of the file.
    fn member(&self, name: &str) -> serde_json::Result<String> {
        member(name, &self.about, &self.model)
    }
}

/// A file of learners that is ready to be written. Writing waits for the disk and may be done on another thread.
pub(crate) struct Snapshot {
    path: PathBuf,
    text: String,
}

impl Snapshot {
    /// Replaces the file.
    ///
    /// # Errors
    /// If the file cannot be written.
    pub(crate) fn write(self) -> Result<(), ModelError> {
        file::write_whole(&self.path, &self.text).map_err(|source| ModelError::File { path: self.path, source })
    }
}

/// A model of traffic: learners, each under its name.
pub struct TrafficModel {
    path: PathBuf,
    hash: ModelHash,
    fleet: Option<FleetOrigin>,
    learners: BTreeMap<String, Value>,
}

impl TrafficModel {
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
    pub(crate) fn snapshot(path: &Path, learners: &[(&str, &Learner)]) -> Result<Snapshot, ModelError> {
        let failed = |source| ModelError::File { path: path.to_owned(), source };
        let ready = learners.iter().filter_map(|(name, learner)| Some((name, learner, learner.fitted()?)));
        let texts = ready
            .map(|(name, learner, fitted)| {
                let features: Vec<TrainedOn> = learner.columns().iter().map(TrainedOn::from).collect();
                let about = About {
                    features_hash: features_hash(&features),
                    features,
                    settings: learner.settings().clone(),
                    batches: learner.batches(),
                    feedback_labels: learner.labels().clone(),
                    fixed: learner.fixed().copied(),
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
        let text = whole(None, &texts).map_err(|error| failed(error.into()))?;
        Ok(Snapshot { path: path.to_owned(), text })
    }

    /// Writes the file again with an operator's feedback label on rows of these columns, for the learner of this name.
    ///
    /// # Errors
    /// If the file has no such learner, it was trained on other columns, or the file cannot be written.
    pub fn label(self, name: &str, columns: &[Column], label: FeedbackLabel) -> Result<(), ModelError> {
        let Self { path, fleet, learners, .. } = self;
        let not_a_model = |reason: String| ModelError::NotAModel { path: path.clone(), reason };
        let unreadable = |error: serde_json::Error| not_a_model(error.to_string());
        let value = learners.get(name).ok_or_else(|| not_a_model(format!("it has no learner of {name}")))?;
        let mut labelled = SavedLearner::parse(&path, name, value, columns)?;
        labelled.about.feedback_labels.add(label);
        let texts = learners.iter().map(|(other, value)| {
            if other == name { labelled.member(name) } else { SavedLearner::deserialize(value)?.member(other) }
        });
        let texts = texts.collect::<serde_json::Result<Vec<_>>>().map_err(unreadable)?;
        let text = whole(fleet.as_ref(), &texts).map_err(unreadable)?;
        Snapshot { path, text }.write()
    }

    /// Reads a file.
    ///
    /// # Errors
    /// If the file cannot be read, or is no model of traffic.
    pub fn read(path: &Path) -> Result<Self, ModelError> {
        let text = file::read(path).map_err(|source| ModelError::File { path: path.to_owned(), source })?;
        Self::parse(path, &text)
    }

    /// Reads the file with this hash. A file with another hash is not parsed.
    ///
    /// # Errors
    /// If the file cannot be read, has another hash, or is no model of traffic.
    pub fn read_pinned(path: &Path, expected: ModelHash) -> Result<Self, ModelError> {
        let text = file::read(path).map_err(|source| ModelError::File { path: path.to_owned(), source })?;
        match ModelHash::of(&text) {
            found if found == expected => Self::parse(path, &text),
            found => Err(ModelError::OtherHash { path: path.to_owned(), found, expected }),
        }
    }

    /// Parses the content of a file. `path` is for error messages.
    ///
    /// # Errors
    /// If the file is no model of traffic.
    pub fn parse(path: &Path, text: &[u8]) -> Result<Self, ModelError> {
        let not_a_model = |reason: String| ModelError::NotAModel { path: path.to_owned(), reason };
        ModelKind::Traffic.expect(path, text)?;
        if text.len() > LONGEST {
            return Err(not_a_model(format!("it has {} bytes; expected at most {LONGEST}", text.len())));
        }
        let contents: Contents = serde_json::from_slice(text).map_err(|error| not_a_model(error.to_string()))?;
        let Contents { version, fleet, learners } = contents;
        if fleet.is_some() != (version == FLEET_VERSION) {
            return Err(not_a_model(format!("expected the member 'fleet' in version {FLEET_VERSION} only")));
        }
        Ok(Self { path: path.to_owned(), hash: ModelHash::of(text), fleet, learners })
    }

    /// Writes the text of a file.
    ///
    /// # Errors
    /// If the file cannot be written.
    pub(crate) fn write_text(path: &Path, text: &str) -> Result<(), ModelError> {
        Snapshot { path: path.to_owned(), text: text.to_owned() }.write()
    }

    /// The identity of the model.
    #[must_use]
    pub fn identity(&self) -> ModelIdentity {
        ModelIdentity { hash: self.hash, number: self.fleet.as_ref().map_or(0, |fleet| fleet.number) }
    }

    /// The origin of a model of a fleet.
    #[must_use]
    pub const fn fleet(&self) -> Option<&FleetOrigin> {
        self.fleet.as_ref()
    }

    /// The model of each learner, with its settings.
    ///
    /// # Errors
    /// If the contents of a learner are inconsistent.
    pub(crate) fn models(&self) -> Result<Vec<(String, Settings, Fitted)>, ModelError> {
        let parse = |(name, value): (&String, &Value)| {
            let saved = self.saved(name, value)?;
            Ok((name.clone(), saved.about.settings, saved.model))
        };
        self.learners.iter().map(parse).collect()
    }

    /// The text of a file with the learners of this one, of which some have another model.
    ///
    /// # Errors
    /// If the contents of a learner are inconsistent, or a model cannot be serialised.
    pub(crate) fn with_models(&self, fleet: &FleetOrigin, models: Vec<(String, Fitted)>) -> Result<String, ModelError> {
        let mut models: BTreeMap<String, Fitted> = models.into_iter().collect();
        let failed = |error: serde_json::Error| ModelError::File { path: self.path.clone(), source: error.into() };
        let texts = self.learners.iter().map(|(name, value)| {
            let SavedLearner { about, model } = self.saved(name, value)?;
            let about = About { fixed: None, ..about };
            member(name, &about, &models.remove(name).unwrap_or(model)).map_err(failed)
        });
        let texts = texts.collect::<Result<Vec<_>, ModelError>>()?;
        whole(Some(fleet), &texts).map_err(failed)
    }

    /// A learner of this file, whatever its columns are.
    fn saved(&self, name: &str, value: &Value) -> Result<SavedLearner, ModelError> {
        SavedLearner::deserialize(value)
            .map_err(|error| ModelError::NotAModel { path: self.path.clone(), reason: format!("{name}: {error}") })
    }

    /// Checks that the file has at least one learner, and only learners of these names. Some may not have had a model
    /// when the file was written.
    ///
    /// # Errors
    /// If the file has no learner, or other learners.
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
    /// If the learner was trained on other columns, or its contents are inconsistent.
    pub fn learner(&self, name: &str, columns: Vec<Column>) -> Result<Option<Learner>, ModelError> {
        let Some(value) = self.learners.get(name) else { return Ok(None) };
        let mut learner = SavedLearner::parse(&self.path, name, value, &columns)?.into_learner(columns);
        if self.fleet.is_some() {
            learner.fix(self.identity());
        }
        Ok(Some(learner))
    }
}

/// A learner as text of the file.
fn member(name: &str, about: &About, model: &Fitted) -> serde_json::Result<String> {
    Ok(format!("\"{name}\": {}", file::lines_and(about, "model", model)?))
}

/// The text of a file with these learners.
fn whole(fleet: Option<&FleetOrigin>, members: &[String]) -> serde_json::Result<String> {
    let header = match fleet {
        Some(fleet) => serde_json::to_string_pretty(&Signed::of_fleet(ModelKind::Traffic, FleetMember { fleet }))?,
        None => serde_json::to_string_pretty(&Signed::new(ModelKind::Traffic, ()))?,
    };
    let header = header.strip_suffix("\n}").expect("an object in lines ends so");
    Ok(format!("{header},\n\"learners\": {{\n{}\n}}\n}}\n", members.join(",\n")))
}
