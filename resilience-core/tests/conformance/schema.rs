//! Reading cases strictly: a field that nobody asked for is an error.

use std::{cell::RefCell, collections::HashSet, time::Duration};

use resilience_core::Timestamp;
use serde_json::{Map, Value};

/// Why a case does not hold.
pub(crate) type Failure = String;

/// An object whose fields are taken one by one; what is left over at the end is unknown.
pub(crate) struct Fields<'a> {
    map: &'a Map<String, Value>,
    taken: RefCell<HashSet<&'a str>>,
}

impl<'a> Fields<'a> {
    /// The fields of `value`, which must be an object.
    pub(crate) fn of(value: &'a Value) -> Result<Self, Failure> {
        let map = value
            .as_object()
            .ok_or_else(|| format!("not an object: {value}"))?;
        Ok(Self {
            map,
            taken: RefCell::default(),
        })
    }

    /// The field, where it is there; `null` is a value.
    pub(crate) fn optional(&self, name: &str) -> Option<&'a Value> {
        let (name, value) = self.map.get_key_value(name)?;
        self.taken.borrow_mut().insert(name);
        Some(value)
    }

    /// The field, which must be there.
    pub(crate) fn required(&self, name: &str) -> Result<&'a Value, Failure> {
        self.optional(name)
            .ok_or_else(|| format!("field `{name}` is missing"))
    }

    /// The field read by `read`, where it is there.
    pub(crate) fn read<T>(
        &self,
        name: &str,
        read: impl FnOnce(&'a Value) -> Result<T, Failure>,
    ) -> Result<Option<T>, Failure> {
        self.optional(name)
            .map(|value| read(value).map_err(|failure| format!("`{name}`: {failure}")))
            .transpose()
    }

    /// An error where a field was never taken.
    pub(crate) fn done(&self) -> Result<(), Failure> {
        let taken = self.taken.borrow();
        match self.map.keys().find(|name| !taken.contains(name.as_str())) {
            None => Ok(()),
            Some(name) => Err(format!("unknown field `{name}`")),
        }
    }
}

/// A string.
pub(crate) fn text(value: &Value) -> Result<&str, Failure> {
    value
        .as_str()
        .ok_or_else(|| format!("not a string: {value}"))
}

/// A whole number.
pub(crate) fn whole(value: &Value) -> Result<u64, Failure> {
    value
        .as_u64()
        .ok_or_else(|| format!("not a whole number: {value}"))
}

/// A whole number of 32 bits.
pub(crate) fn small(value: &Value) -> Result<u32, Failure> {
    u32::try_from(whole(value)?).map_err(|_| format!("too large: {value}"))
}

/// A number.
pub(crate) fn number(value: &Value) -> Result<f64, Failure> {
    value
        .as_f64()
        .ok_or_else(|| format!("not a number: {value}"))
}

/// `null`, or what `read` makes of it.
pub(crate) fn nullable<T>(
    value: &Value,
    read: impl FnOnce(&Value) -> Result<T, Failure>,
) -> Result<Option<T>, Failure> {
    if value.is_null() {
        return Ok(None);
    }
    read(value).map(Some)
}

/// A duration such as `1.5s`, exact to the nanosecond.
pub(crate) fn duration(value: &Value) -> Result<Duration, Failure> {
    let text = text(value)?;
    parse_duration(text).ok_or_else(|| format!("not a duration: {text}"))
}

/// A duration since the start.
pub(crate) fn instant(value: &Value) -> Result<Timestamp, Failure> {
    Ok(Timestamp::ZERO.saturating_add(duration(value)?))
}

fn parse_duration(text: &str) -> Option<Duration> {
    let split = text.find(|character: char| character.is_ascii_alphabetic())?;
    let (number, unit) = text.split_at(split);
    let unit: u128 = match unit {
        "ns" => 1,
        "us" => 1_000,
        "ms" => 1_000_000,
        "s" => 1_000_000_000,
        "m" => 60_000_000_000,
        "h" => 3_600_000_000_000,
        "d" => 86_400_000_000_000,
        _ => return None,
    };
    let (whole, fraction) = number.split_once('.').unwrap_or((number, ""));
    let digits: u128 = format!("{whole}{fraction}").parse().ok()?;
    let scale = 10_u128.checked_pow(u32::try_from(fraction.len()).ok()?)?;
    let scaled = digits.checked_mul(unit)?;
    if scaled % scale != 0 {
        return None;
    }
    u64::try_from(scaled / scale).ok().map(Duration::from_nanos)
}

/// An error that says what differs, where something does.
pub(crate) fn expect<T: PartialEq + std::fmt::Debug>(
    what: &str,
    found: &T,
    expected: &T,
) -> Result<(), Failure> {
    if found == expected {
        return Ok(());
    }
    Err(format!("{what}: expected {expected:?}, found {found:?}"))
}

/// The like for a text that the step may leave out.
pub(crate) fn expect_told(what: &str, found: &str, step: &Fields<'_>) -> Result<(), Failure> {
    match step.read("expect", text)? {
        Some(expected) => expect(what, &found, &expected),
        None => Ok(()),
    }
}

/// The like for rates, which may differ by rounding.
pub(crate) fn expect_rate(
    what: &str,
    found: Option<f64>,
    expected: Option<f64>,
) -> Result<(), Failure> {
    let same = match (found, expected) {
        (None, None) => true,
        (Some(found), Some(expected)) => (found - expected).abs() <= 1e-9,
        (Some(_), None) | (None, Some(_)) => false,
    };
    if same {
        return Ok(());
    }
    Err(format!("{what}: expected {expected:?}, found {found:?}"))
}
