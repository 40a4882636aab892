//! A value in a row, and its form in JSON.

use serde::Serialize;

use crate::record::Value;

/// A value in a row.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Cell {
    /// An identifier's value.
    Value(Value),
    /// A real number; NaN if it is not defined.
    Real(f64),
    /// Several numbers: the two bounds of a range, or one value per packet.
    List(Vec<f64>),
}

/// The largest `f64` up to which every integer is exact: 2⁵³.
const EXACT: f64 = 9_007_199_254_740_992.0;

impl Cell {
    /// No value.
    pub(crate) const ABSENT: Self = Self::Value(Value::Absent);

    /// Whether there is no value.
    pub(in crate::export) fn is_absent(&self) -> bool {
        match self {
            Self::Value(value) => *value == Value::Absent,
            Self::Real(number) => !number.is_finite(),
            Self::List(_) => false,
        }
    }

    /// Appends the value as JSON. A row has more than a hundred values, so integers take a fast path.
    pub(in crate::export) fn write_json(&self, line: &mut Vec<u8>) {
        match self {
            Self::Value(Value::Text(text)) => write_json(line, text),
            Self::Value(Value::Name(name)) => write_json(line, name),
            Self::Value(Value::Number(number)) => write_integer(line, *number),
            Self::Value(Value::Flag(flag)) => write_json(line, flag),
            // `fract` is a function call on processors that may lack a rounding instruction.
            Self::Real(number) if *number as i64 as f64 == *number && number.abs() <= EXACT => {
                write_integer(line, *number as i64);
            }
            Self::Real(number) if number.is_finite() => write_json(line, number),
            Self::Value(Value::Absent) | Self::Real(_) => line.extend_from_slice(b"null"),
            Self::List(numbers) => {
                line.push(b'[');
                for (at, number) in numbers.iter().enumerate() {
                    if at > 0 {
                        line.push(b',');
                    }
                    Self::Real(*number).write_json(line);
                }
                line.push(b']');
            }
        }
    }
}

/// Appends an integer. Most numbers of a row have one digit, so that case is fast.
fn write_integer(line: &mut Vec<u8>, integer: impl itoa::Integer + Copy + TryInto<u8>) {
    match integer.try_into() {
        Ok(digit @ 0..=9) => line.push(b'0' + digit),
        _ => line.extend_from_slice(itoa::Buffer::new().format(integer).as_bytes()),
    }
}

fn write_json<T: Serialize + ?Sized>(line: &mut Vec<u8>, value: &T) {
    serde_json::to_writer(line, value).expect("memory takes every byte");
}
