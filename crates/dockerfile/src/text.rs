//! Text that keeps bytes which are not UTF-8: each stands as one character of a private range, and comes out
//! again as it was. So the whole crate works on `str`, and a heredoc's file has the bytes that were written.

use std::borrow::Cow;

/// The character that stands for byte 0. No Unicode character has a meaning there.
const FIRST: u32 = 0x10_FF00;
/// The first byte of these characters in UTF-8; hardly any text has it.
const LEAD: u8 = 0xF4;

/// The text of a file as this crate takes it: what is not UTF-8 is kept in a way that only this crate can read.
pub fn text_of(bytes: &[u8]) -> String {
    decode(bytes).into_owned()
}

/// Text of any bytes.
fn decode(bytes: &[u8]) -> Cow<'_, str> {
    match std::str::from_utf8(bytes) {
        Ok(text) if !bytes.contains(&LEAD) => Cow::Borrowed(text),
        _ => Cow::Owned(decode_by_chunk(bytes)),
    }
}

fn decode_by_chunk(bytes: &[u8]) -> String {
    let mut text = String::with_capacity(bytes.len());
    for chunk in bytes.utf8_chunks() {
        for c in chunk.valid().chars() {
            // A character of the range itself would come out as a single byte.
            match byte_of(c) {
                Some(_) => c.encode_utf8(&mut [0; 4]).bytes().for_each(|byte| text.extend(char_of(byte))),
                None => text.push(c),
            }
        }
        chunk.invalid().iter().for_each(|byte| text.extend(char_of(*byte)));
    }
    text
}

/// The bytes of which [`text_of`] made a text.
pub fn bytes_of(text: &str) -> Vec<u8> {
    if !may_hold_bytes(text) {
        return text.as_bytes().to_vec();
    }
    let mut bytes = Vec::with_capacity(text.len());
    for c in text.chars() {
        match byte_of(c) {
            Some(byte) => bytes.push(byte),
            None => bytes.extend_from_slice(c.encode_utf8(&mut [0; 4]).as_bytes()),
        }
    }
    bytes
}

/// A text of [`text_of`] for people: what is not UTF-8 is U+FFFD.
pub fn lossy(text: &str) -> String {
    if may_hold_bytes(text) { String::from_utf8_lossy(&bytes_of(text)).into_owned() } else { text.to_owned() }
}

/// The same for a text that is read again as one of [`text_of`]: without characters that stand for bytes there.
pub(crate) fn without_bytes(text: &str) -> String {
    lossy(text).chars().map(|c| if is_byte(c) { char::REPLACEMENT_CHARACTER } else { c }).collect()
}

/// Where the first byte stands that is no UTF-8.
pub(crate) fn first_byte(text: &str) -> Option<usize> {
    if !may_hold_bytes(text) {
        return None;
    }
    text.char_indices().find(|(_, c)| byte_of(*c).is_some()).map(|(at, _)| at)
}

fn may_hold_bytes(text: &str) -> bool {
    text.as_bytes().contains(&LEAD)
}

/// Whether the character stands for a byte that is no UTF-8.
pub(crate) fn is_byte(c: char) -> bool {
    byte_of(c).is_some()
}

fn char_of(byte: u8) -> Option<char> {
    char::from_u32(FIRST + u32::from(byte))
}

fn byte_of(c: char) -> Option<u8> {
    u8::try_from((c as u32).checked_sub(FIRST)?).ok()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn nothing_is_taken_for_a_byte_twice() {
        assert_eq!(without_bytes(&text_of("a\u{10ff80}\u{e9}".as_bytes())), "a\u{fffd}\u{e9}");
        assert_eq!(without_bytes(&text_of(b"a\xe9")), "a\u{fffd}");
    }

    proptest! {
        #[test]
        fn all_bytes_come_out_as_they_went_in(bytes in prop::collection::vec(any::<u8>(), 0..40), text in any::<String>()) {
            prop_assert_eq!(bytes_of(&decode(&bytes)), bytes);
            prop_assert_eq!(bytes_of(&decode(text.as_bytes())), text.as_bytes());
        }
    }

    #[test]
    fn characters_of_the_range_itself_are_kept() {
        let text = "a\u{10ff41}\u{10fffd}b";
        assert_eq!(bytes_of(&decode(text.as_bytes())), text.as_bytes());
        assert_eq!(lossy(&decode(text.as_bytes())), text);
    }

    #[test]
    fn what_is_no_utf8_is_found() {
        let text = decode(b"caf\xe9");
        assert_eq!(first_byte(&text), Some(3));
        assert_eq!(lossy(&text), "caf\u{fffd}");
        assert_eq!(first_byte("café"), None);
    }
}
