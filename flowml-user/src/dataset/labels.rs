//! The names of labels and of their columns.

/// The default label of rows without a label.
pub const BENIGN: &str = "benign";

/// The default name of the label column.
pub const LABEL: &str = "label";

/// The column with the number of the rule that gave the label, from 1; empty if no rule did.
pub const RULE: &str = "label_rule";
