//! Classifiers: each is trained on labelled rows and predicts the class of any row.
//!
//! ```
//! use flowml_user::learning::classify::ClassifierKind;
//!
//! assert!(ClassifierKind::ALL.iter().any(|kind| kind.name() == "random-forest"));
//! ```

mod bayes;
mod classifier;
mod forest;
mod logistic;
mod svm;
#[cfg(test)]
mod tests;
mod tree;

use serde::{Deserialize, Serialize};

pub(crate) use self::classifier::Classifier;

use self::bayes::NaiveBayes;
use self::classifier::FitClassifier;
pub(crate) use self::classifier::TrainingSet;
use self::forest::RandomForest;
use self::logistic::Logistic;
use self::svm::OneAgainstRest;
use self::tree::DecisionTree;
use super::error::{LearnError, sound};
use super::kinds::kinds;

/// The table of classifiers: variant and type, name on the command line and in files, meaning.
macro_rules! classifiers {
    ($($kind:ident($fitted:ty) = $name:literal, $meaning:literal;)*) => {
        kinds! {
            /// All kinds of classifiers.
            ClassifierKind: $($kind = $name, $meaning;)*
        }

        impl ClassifierKind {
            /// Trains on labelled rows.
            pub(crate) fn fit(self, training: &TrainingSet<'_>) -> Result<FittedClassifier, LearnError> {
                if training.rows.ncols() == 0 {
                    return Err(LearnError::NoColumns);
                }
                match self { $(Self::$kind => <$fitted>::fit(training).and_then(sound).map(FittedClassifier::$kind),)* }
            }
        }

        /// A trained classifier.
        #[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
        #[serde(tag = "classifier")]
        pub(crate) enum FittedClassifier {
            $(#[serde(rename = $name)] $kind($fitted),)*
        }

        impl FittedClassifier {
            /// The kind of classifier.
            pub(crate) fn kind(&self) -> ClassifierKind {
                match self { $(Self::$kind(_) => ClassifierKind::$kind,)* }
            }

            /// The classifier's methods.
            pub(crate) fn as_classifier(&self) -> &dyn Classifier {
                match self { $(Self::$kind(fitted) => fitted,)* }
            }
        }
    };
}

classifiers! {
    DecisionTree(DecisionTree) = "decision-tree", "one tree of the splits that separate the classes best";
    RandomForest(RandomForest) = "random-forest", "majority of many trees, each with a sample of rows and columns";
    NaiveBayes(NaiveBayes) = "naive-bayes", "most probable class, if columns are independent and normally distributed";
    Svm(OneAgainstRest) = "svm", "widest margin between classes, with a Gaussian kernel";
    Logistic(Logistic) = "logistic", "a weight for each column and class";
}

/// For each encoded feature the largest absolute weight that a logistic regression gives it in any class.
pub(crate) fn linear_weights(training: &TrainingSet<'_>) -> Result<Vec<f64>, LearnError> {
    let fitted = Logistic::fit(training)?;
    let heaviest =
        |feature: usize| fitted.weights().iter().map(|weights: &Vec<f64>| weights[feature].abs()).fold(0.0, f64::max);
    Ok((0..training.rows.ncols()).map(heaviest).collect())
}

/// The reduction of impurity by each encoded feature in a random forest. The sum is 1.
pub(crate) fn tree_importance(training: &TrainingSet<'_>) -> Vec<f64> {
    const TREES: u64 = 30;
    RandomForest::grow(training, TREES).1
}
