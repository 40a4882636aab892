//! The parameters of training, for `train` and `eval`.

use std::str::FromStr;

use clap::builder::TypedValueParser;
use clap::{Args, ValueEnum};
use flowml_user::learning::batch::{Plan, Task};
use flowml_user::learning::classify::ClassifierKind;
use flowml_user::learning::detect::DetectorKind;
use flowml_user::learning::preprocess::Scaling;
use flowml_user::learning::select::Selection;

use super::values::{named, probability};

/// The alarm level of models of tables, unless the user sets another.
const ALPHA: f64 = 0.01;

/// The parameters of training, of detectors and classifiers.
#[derive(Args, Clone, Debug)]
pub(crate) struct LearningArguments {
    /// Label of normal rows: detectors are trained on these rows only, classifiers distinguish them from all others
    #[arg(long, value_name = "LABEL", requires = "labelled")]
    pub(crate) benign: Option<String>,

    /// Train detectors on all rows and ignore the labels
    #[arg(long)]
    pub(crate) all_rows: bool,

    /// Number of clusters or components, 1 to 1000 [default: 16 to 24 clusters, chosen by silhouette; 8 components]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u16).range(1..=1000))]
    pub(crate) k: Option<u16>,

    /// Scaling of numbers [default: robust for detectors, standard for classifiers]
    #[arg(long, value_name = "SCALING", value_enum)]
    pub(crate) scale: Option<ScalingName>,

    /// Use only a selection of the encoded features: variance:V, chi2:K, mutual-information:K, rfe:K, l1:K or tree:K
    #[arg(long, value_name = "METHOD:K", value_parser = Selection::from_str)]
    pub(crate) select: Option<Selection>,

    /// Alarm level: the fraction of normal rows that may be reported as anomalies, between 0 and 1 [default: 0.01;
    /// 0.0001 for a model of traffic]
    #[arg(long, value_name = "P", value_parser = probability)]
    pub(crate) alpha: Option<f64>,

    /// Seed of all random choices: the same seed and rows give the same model [default: 0]
    #[arg(long, value_name = "N", default_value_t = 0, hide_default_value = true)]
    pub(crate) seed: u64,
}

/// The scaling of numbers.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum ScalingName {
    /// Mean 0, standard deviation 1
    Standard,
    /// Minimum 0, maximum 1
    MinMax,
    /// Median 0, scaled by quantiles
    Robust,
}

impl From<ScalingName> for Scaling {
    fn from(name: ScalingName) -> Self {
        match name {
            ScalingName::Standard => Self::Standard,
            ScalingName::MinMax => Self::MinMax,
            ScalingName::Robust => Self::Robust,
        }
    }
}

impl LearningArguments {
    /// The training plan for a task.
    #[must_use]
    pub(crate) fn plan(&self, task: Task) -> Plan {
        Plan {
            task,
            scaling: self.scale.map(Scaling::from),
            selection: self.select,
            k: self.k.map(usize::from),
            seed: self.seed,
            alpha: self.alpha.unwrap_or(ALPHA),
            benign: self.benign.clone(),
            all_rows: self.all_rows,
        }
    }
}

/// Parses the name of a detector.
pub(super) fn detector() -> impl TypedValueParser<Value = DetectorKind> {
    named(DetectorKind::ALL, DetectorKind::name, DetectorKind::meaning)
}

/// Parses the name of a classifier.
pub(super) fn classifier() -> impl TypedValueParser<Value = ClassifierKind> {
    named(ClassifierKind::ALL, ClassifierKind::name, ClassifierKind::meaning)
}

#[cfg(test)]
mod tests {
    use std::ffi::OsString;

    use flowml_user::learning::batch::Task;
    use flowml_user::learning::classify::ClassifierKind;
    use flowml_user::learning::detect::DetectorKind;
    use flowml_user::learning::select::Selection;

    use crate::args::message::one_line;
    use crate::args::{Arguments, Command};

    fn read(line: &str) -> Result<Command, String> {
        let words = std::iter::once("flowml").chain(line.split_whitespace()).map(OsString::from);
        Arguments::read(words).map(|arguments| arguments.command).map_err(|error| one_line(&error))
    }

    #[test]
    fn what_is_learnt_is_what_was_asked_for() {
        let plan = |line: &str| match read(line) {
            Ok(Command::Train(train)) => train.plan(),
            other => panic!("{line}: {other:?}"),
        };
        assert_eq!(plan("train a.csv --model m").task, Task::Detect(DetectorKind::Kmeans));
        let line = "train a b --model m --classifier svm --label-column 42 --ignore 43,44 --no-header --select chi2:9";
        let plan = plan(line);
        assert_eq!((plan.task, plan.selection), (Task::Classify(ClassifierKind::Svm), Some(Selection::Chi2(9))));
        let Ok(Command::Eval(eval)) = read("eval a --label-column l --benign b --detector dbscan,kmeans -o json=-")
        else {
            panic!("all of it is good");
        };
        assert_eq!(eval.tasks(), [DetectorKind::Dbscan, DetectorKind::Kmeans].map(Task::Detect));
        assert_eq!(eval.output, Some("-".into()));
    }

    #[test]
    fn what_is_missing_or_wrong_is_named() {
        let cases = [
            ("train a.csv", "--model"),
            ("train a --model m --labels x --label-column y", "cannot be used with"),
            ("train a --model m --detector best", "isolation-forest"),
            ("train a --model m --classifier svm", "--label-column"),
            ("train a --model m --benign x", "--label-column"),
            ("train a --model m --detector kmeans --classifier svm", "cannot be used with"),
            ("train a --model m --select best:3", "mutual-information:K"),
            ("train a --model m --k 0", "1..=1000"),
            ("eval a", "--label-column"),
            ("eval a --label-column l", "--benign"),
            ("eval a --label-column l --model m --train b", "cannot be used with"),
            ("eval a --label-column l --benign b -o xml=x", "json=PATH"),
            ("score a --model m -o x.txt", ".parquet"),
            ("train a --model m --encoding ebcdic", "windows-1252"),
        ];
        for (line, expected) in cases {
            let message = read(line).expect_err(line);
            assert!(message.contains(expected) && !message.contains('\n'), "{line}: {message}");
        }
    }
}
