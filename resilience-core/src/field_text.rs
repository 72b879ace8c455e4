//! Values of header fields that answers carry: written without formatting, and shared where they
//! repeat.

use std::{cell::Cell, thread::LocalKey};

use http::HeaderValue;

/// Where a thread keeps the last value of a kind.
pub(crate) type Last = LocalKey<Cell<Option<HeaderValue>>>;

thread_local! {
    /// Where values are written, so that each allocates for itself alone.
    static TEXT: Cell<Vec<u8>> = const { Cell::new(Vec::new()) };
}

/// The value that `write` writes; `None` where that is no value of a field.
pub(crate) fn value(write: impl FnOnce(&mut Vec<u8>)) -> Option<HeaderValue> {
    written(write, |text| HeaderValue::from_bytes(text).ok())
}

/// As [`value`], for what is mostly what it was before: then no other is made.
pub(crate) fn repeated(
    last: &'static Last,
    write: impl FnOnce(&mut Vec<u8>),
) -> Option<HeaderValue> {
    written(write, |text| {
        let before = last.try_with(Cell::take).ok().flatten();
        let same = before.filter(|before| before.as_bytes() == text);
        let value = same.or_else(|| HeaderValue::from_bytes(text).ok());
        // A thread that is going away keeps none.
        let _ = last.try_with(|place| place.set(value.clone()));
        value
    })
}

/// A name in quotes. It has none inside, nor a backslash: a policy's name was checked.
pub(crate) fn push_name(text: &mut Vec<u8>, name: &str) {
    text.push(b'"');
    text.extend_from_slice(name.as_bytes());
    text.push(b'"');
}

/// A number in decimal.
pub(crate) fn push_number(text: &mut Vec<u8>, number: u64) {
    let mut digits = [0; MOST_DIGITS];
    let mut start = MOST_DIGITS;
    let mut left = number;
    loop {
        start -= 1;
        #[allow(clippy::cast_possible_truncation, reason = "a digit")]
        let digit = (left % 10) as u8;
        digits[start] = b'0' + digit;
        left /= 10;
        if left == 0 {
            break;
        }
    }
    text.extend_from_slice(&digits[start..]);
}

/// Of 2^64 - 1.
const MOST_DIGITS: usize = 20;

fn written<R>(write: impl FnOnce(&mut Vec<u8>), read: impl FnOnce(&[u8]) -> R) -> R {
    let mut text = TEXT.try_with(Cell::take).unwrap_or_default();
    text.clear();
    write(&mut text);
    let result = read(&text);
    let _ = TEXT.try_with(|place| place.set(text));
    result
}

#[cfg(all(test, not(resilience_loom)))]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_written_as_they_are_formatted() {
        let powers = (0..20).map(|exponent| 10_u64.pow(exponent));
        let around = powers.flat_map(|power| [power - 1, power, power + 1]);
        for number in around.chain([u64::MAX]) {
            let written = value(|text| push_number(text, number)).unwrap();
            assert_eq!(written, number.to_string());
        }
    }

    #[test]
    fn a_value_that_repeats_is_shared_and_another_is_not_taken_for_it() {
        thread_local! {
            static LAST: Cell<Option<HeaderValue>> = const { Cell::new(None) };
        }
        let name = |name| repeated(&LAST, |text| push_name(text, name)).unwrap();
        let (first, again, other) = (name("soup"), name("soup"), name("stew"));
        assert_eq!([&first, &other], ["\"soup\"", "\"stew\""]);
        assert_eq!(first.as_bytes().as_ptr(), again.as_bytes().as_ptr());
        assert_eq!(name("soup"), first);
    }

    #[test]
    fn what_is_no_value_of_a_field_is_none() {
        assert_eq!(value(|text| text.push(b'\n')), None);
    }
}
