//! Compiles an expression to tests with jumps.
//!
//! The tests are made from the last to the first: both jumps of a test lead to tests that exist already, or to a result.
//! So all jumps go forward, and a test that exists already is used again.

use flowml_common::filter::{Filter, Test};

use super::check::Check;
use super::expression::Expression;

/// The target of a jump.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Target {
    Select,
    Reject,
    /// A test, counted from the last one.
    Test(usize),
}

/// A test, and its targets if it succeeds and if it fails.
type Made = (Check, Target, Target);

/// The tests of an expression. There may be more than a filter can have.
pub(super) fn compile(expression: &Expression) -> Vec<Test> {
    let mut made = Vec::new();
    let first = connect(&mut made, expression, Target::Select, Target::Reject);
    let first = match first {
        Target::Test(first) => first,
        // A result without a test: a test with this result.
        result => {
            made.clear();
            made.push((Check::in_tunnel(), result, result));
            0
        }
    };
    // Tests made after the first one are not used.
    made.truncate(first + 1);
    let last = made.len() - 1;
    let jump = |target| match target {
        Target::Select => Filter::SELECT,
        Target::Reject => Filter::REJECT,
        // The filter refuses more tests than fit into the number.
        Target::Test(n) => u8::try_from(last - n).unwrap_or(Filter::REJECT),
    };
    let test = |&(check, yes, no): &Made| {
        let Check { field, high_mask, high, low_mask, low, span } = check;
        Test {
            high_mask,
            high,
            low_mask,
            low,
            span,
            field: field as u8,
            yes: jump(yes),
            no: jump(no),
            reserved: [0; 5],
        }
    };
    made.iter().rev().map(test).collect()
}

/// Makes the tests of an expression that lead to `yes` or `no`. Returns where they start.
fn connect(made: &mut Vec<Made>, expression: &Expression, yes: Target, no: Target) -> Target {
    match expression {
        Expression::Constant(true) => yes,
        Expression::Constant(false) => no,
        Expression::Not(inner) => connect(made, inner, no, yes),
        Expression::And(one, other) => {
            let behind = connect(made, other, yes, no);
            connect(made, one, behind, no)
        }
        Expression::Or(one, other) => {
            let behind = connect(made, other, yes, no);
            connect(made, one, yes, behind)
        }
        Expression::Check(check) => add(made, *check, yes, no),
    }
}

/// Adds a test, unless it exists or decides nothing.
fn add(made: &mut Vec<Made>, check: Check, mut yes: Target, mut no: Target) -> Target {
    // The result of the same test again is known.
    while let Target::Test(n) = yes
        && made[n].0 == check
    {
        yes = made[n].1;
    }
    while let Target::Test(n) = no
        && made[n].0 == check
    {
        no = made[n].2;
    }
    if yes == no {
        return yes;
    }
    let test = (check, yes, no);
    Target::Test(made.iter().position(|other| *other == test).unwrap_or_else(|| {
        made.push(test);
        made.len() - 1
    }))
}
