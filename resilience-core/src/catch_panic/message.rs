use std::{any::Any, mem};

/// Characters of a message at most.
const LENGTH: usize = 200;

/// What a panic said, fit for a log.
pub(super) fn take(payload: Box<dyn Any + Send>) -> String {
    // Texts are dropped as usual; of anything else not even the drop can be trusted.
    let payload = match payload.downcast::<String>() {
        Ok(text) => return escape(&text),
        Err(payload) => payload,
    };
    match payload.downcast::<&'static str>() {
        Ok(text) => escape(&text),
        Err(payload) => {
            mem::forget(payload);
            "(no text)".to_owned()
        }
    }
}

/// `text` in at most [`LENGTH`] characters, none of which can steer a terminal, end a line or turn
/// the direction of writing.
pub(crate) fn escape(text: &str) -> String {
    let mut escaped = String::new();
    let mut left = LENGTH - 1;
    for character in text.chars() {
        let shown = match character {
            '"' | '\'' => 1,
            _ => character.escape_debug().count(),
        };
        if shown > left {
            escaped.push('…');
            break;
        }
        left -= shown;
        match character {
            '"' | '\'' => escaped.push(character),
            _ => escaped.extend(character.escape_debug()),
        }
    }
    escaped
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_message_is_at_most_200_characters_without_control_characters() {
        let hostile = "\u{1b}[2J\r\n\0\u{202e}\\".repeat(100);
        let escaped = escape(&hostile);
        assert!(escaped.chars().count() <= 200);
        assert!(!escaped.chars().any(char::is_control));
        assert!(escaped.starts_with(r"\u{1b}[2J\r\n\0\u{202e}\\"));
        assert!(escaped.ends_with('…'));
    }

    #[test]
    fn a_plain_message_stays_as_it_is() {
        let plain = "no \"pans\" for the chef's soup: größe 42";
        assert_eq!(escape(plain), plain);
        assert_eq!(escape(&"é".repeat(199)), "é".repeat(199));
    }
}
