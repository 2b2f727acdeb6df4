//! Messages of the agent's protocol (draft-ietf-sshm-ssh-agent): a length, a type, fields.

use std::io::{self, Read, Write};

/// The longest message, as OpenSSH has it.
const LONGEST: u32 = 256 * 1024;

/// "Which keys are there?"
pub(super) const REQUEST_IDENTITIES: u8 = 11;
/// The keys.
pub(super) const IDENTITIES_ANSWER: u8 = 12;
/// "Sign this."
pub(super) const SIGN_REQUEST: u8 = 13;
/// The signature.
pub(super) const SIGN_RESPONSE: u8 = 14;
/// "No."
pub(super) const FAILURE: u8 = 5;

/// A message without its length; `None` at the end of the stream.
pub(super) fn read(stream: &mut impl Read) -> io::Result<Option<Vec<u8>>> {
    let mut length = [0; 4];
    match stream.read_exact(&mut length) {
        Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => return Ok(None),
        read => read?,
    }
    let length = u32::from_be_bytes(length);
    if length == 0 || length > LONGEST {
        return Err(io::Error::new(io::ErrorKind::InvalidData, "an agent's message with an impossible length"));
    }
    let mut message = vec![0; length as usize];
    stream.read_exact(&mut message)?;
    Ok(Some(message))
}

/// Writes a message with its length before it.
pub(super) fn write(stream: &mut impl Write, message: &[u8]) -> io::Result<()> {
    let mut framed = Vec::with_capacity(message.len() + 4);
    put_string(&mut framed, message);
    stream.write_all(&framed)
}

/// Takes a field off the front.
pub(super) fn take_string<'a>(rest: &mut &'a [u8]) -> Option<&'a [u8]> {
    let (length, after) = rest.split_first_chunk::<4>()?;
    let (field, after) = after.split_at_checked(u32::from_be_bytes(*length) as usize)?;
    *rest = after;
    Some(field)
}

/// Takes a number off the front.
pub(super) fn take_number(rest: &mut &[u8]) -> Option<u32> {
    let (number, after) = rest.split_first_chunk::<4>()?;
    *rest = after;
    Some(u32::from_be_bytes(*number))
}

/// Appends a field.
pub(super) fn put_string(message: &mut Vec<u8>, field: &[u8]) {
    // Fields are parts of messages, which have at most 256 KiB.
    message.extend_from_slice(&(field.len() as u32).to_be_bytes());
    message.extend_from_slice(field);
}

/// Appends a positive integer given by its big-endian bytes.
pub(super) fn put_integer(message: &mut Vec<u8>, bytes: &[u8]) {
    let digits = &bytes[bytes.iter().take_while(|&&byte| byte == 0).count()..];
    let mut field = Vec::with_capacity(digits.len() + 1);
    if digits.first().is_some_and(|first| first & 0x80 != 0) {
        field.push(0);
    }
    field.extend_from_slice(digits);
    put_string(message, &field);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn messages_have_a_length_that_is_possible() {
        let mut framed = Vec::new();
        write(&mut framed, &[REQUEST_IDENTITIES]).unwrap();
        assert_eq!(framed, [0, 0, 0, 1, 11]);
        assert_eq!(read(&mut &framed[..]).unwrap(), Some(vec![11]));
        assert_eq!(read(&mut &framed[..0]).unwrap(), None);
        assert!(read(&mut &[0xff; 4][..]).is_err());
        assert!(read(&mut &[0, 0, 0, 2, 11][..]).is_err());
    }

    #[test]
    fn fields_are_taken_only_where_they_are_whole() {
        let mut rest = &[0, 0, 0, 2, 7, 8, 0, 0, 0, 9][..];
        assert_eq!(take_string(&mut rest), Some(&[7, 8][..]));
        assert_eq!(take_string(&mut rest), None);
        assert_eq!(take_number(&mut rest), Some(9));
        assert_eq!(take_number(&mut rest), None);
    }

    #[test]
    fn integers_are_positive_and_short() {
        let integer = |bytes: &[u8]| {
            let mut message = Vec::new();
            put_integer(&mut message, bytes);
            message
        };
        assert_eq!(integer(&[0, 0, 0x7f]), [0, 0, 0, 1, 0x7f]);
        assert_eq!(integer(&[0x80]), [0, 0, 0, 2, 0, 0x80]);
        assert_eq!(integer(&[0]), [0, 0, 0, 0]);
    }
}
