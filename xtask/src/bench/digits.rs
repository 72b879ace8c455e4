//! Figures as readers want them: a few digits, thousands apart.

/// To three digits.
pub(crate) fn short(value: f64) -> String {
    of(value, 3)
}

/// To four digits, where what is just missed is not to look reached.
pub(crate) fn close(value: f64) -> String {
    of(value, 4)
}

/// What there may be, or nothing.
pub(crate) fn perhaps(value: Option<f64>) -> String {
    value.map_or_else(String::new, short)
}

fn of(value: f64, digits: i32) -> String {
    if value == 0.0 {
        return "0".to_owned();
    }
    #[allow(clippy::cast_possible_truncation, reason = "the exponent of a double")]
    let exponent = value.abs().log10().floor() as i32;
    let decimals = usize::try_from(digits - 1 - exponent).unwrap_or(0);
    let text = format!("{value:.decimals$}");
    match text.split_once('.') {
        Some((whole, rest)) => {
            let rest = rest.trim_end_matches('0');
            let dot = if rest.is_empty() { "" } else { "." };
            format!("{}{dot}{rest}", apart(whole))
        }
        None => apart(&text),
    }
}

/// Thousands.
fn apart(whole: &str) -> String {
    let (sign, digits) = whole.strip_prefix('-').map_or(("", whole), |it| ("-", it));
    let mut text = sign.to_owned();
    for (place, digit) in digits.chars().enumerate() {
        if place > 0 && (digits.len() - place).is_multiple_of(3) {
            text.push(' ');
        }
        text.push(digit);
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn figures_are_short() {
        for (value, text) in [
            (0.0, "0"),
            (0.066_24, "0.0662"),
            (0.1666, "0.167"),
            (3.0, "3"),
            (13.96, "14"),
            (24.95, "24.9"),
            (-12.5, "-12.5"),
            (999.6, "1 000"),
            (86_816.4, "86 816"),
            (1e7, "10 000 000"),
        ] {
            assert_eq!(short(value), text);
        }
    }

    #[test]
    fn what_is_just_missed_does_not_look_reached() {
        assert_eq!(short(9.9968), "10");
        assert_eq!(close(9.9968), "9.997");
        assert_eq!(close(10.0), "10");
        assert_eq!(close(1_234.56), "1 235");
    }
}
